"""``vethscope verify``"""

from __future__ import annotations

import click

from analyzer.cli.options import bridge_option, common, files_argument, jobs_option


@click.command(name="verify", epilog="Example: vethscope verify ping.pcapng && echo proved")
@files_argument
@bridge_option("The bridge of the claim.")
@jobs_option
@common(engine=None)
def command(files: tuple[str, ...], bridge: str, jobs: int, as_json: bool, quiet: bool) -> None:
    """Does the traffic in FILE really go through docker0? With evidence, line by line.

    Exit 0 proved for every pair, 1 refuted for one, 3 undecided (and why), 2 error.
    """
    from analyzer.analysis.analyse import report_files, verdict_code
    from analyzer.analysis.options import AnalysisOptions
    from analyzer.cli.output import print_verdicts, reading_bar
    from analyzer.cli.streams import put_json, warn

    with reading_bar(quiet) as bar:
        options = AnalysisOptions(bridge=bridge, jobs=jobs, progress=bar)
        report, errors = report_files(files, options)
    for error in errors:
        warn(str(error))
    if as_json:
        keys = ("schema", "capture", "verdicts", "findings")
        put_json({key: report.to_json()[key] for key in keys})
    elif not quiet:
        print_verdicts(report)
    raise SystemExit(verdict_code(report.verdicts))
