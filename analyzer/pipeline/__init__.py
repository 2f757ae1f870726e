"""Where the stages meet: each command is one call into this package."""


def warm() -> None:
    """Compile all numba loops, so that nobody waits for it in a first capture; set-up calls it."""
    from analyzer.pipeline.warm import compile_all

    compile_all()
