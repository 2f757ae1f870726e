"""What stands out: each rule is a pure function of tables.

To add a finding, two files:

1. A module here with its codes and one ``RULE``: `analyzer.findings.paused` is a short example. A
   code says what it means and what to do next; the documentation's table is made of it. The rule
   reads `FindingInputs` and yields findings. `analyzer.findings.catalogue` finds the module itself.
2. Its test, ``tests/findings/test_NAME.py``: rows in, findings out; healthy rows, which give none.

Then ``python docs/generate.py``. A rule must be true: where it cannot know, it says nothing.
"""
