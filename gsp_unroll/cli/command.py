"""The command's first word, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from .. import __version__
from .messages import DONE, FAILED, INTERRUPTED, WRONG_USE, say
from .options import demosaic_parser, denoise_parser, info_parser, interpolate_parser

PROG = "gsp-unroll"
ENDINGS = """\
exit status:
  0    all was done
  1    something failed, and the rest was done
  2    wrong use, nothing was done
  130  interrupted by Ctrl-C
"""


#: from its words and whether an error is shown with where it came from, the exit status
Command = Callable[[list[str], bool], int]


def _on_pictures(parser: Callable[[str], argparse.ArgumentParser], make: str) -> Command:
    """The command with these options that does what `make` of `cli.restore` makes of them."""

    def command(arguments: list[str], debug: bool) -> int:
        options = parser(PROG).parse_intermixed_args(arguments)
        options.debug = debug
        from . import restore
        from .run import run

        return run(options, getattr(restore, make))

    return command


def _eval(arguments: list[str], debug: bool) -> int:
    from ..evaluate.__main__ import main, parse

    main(parse(arguments, f"{PROG} eval"))
    return DONE


def _train(arguments: list[str], debug: bool) -> int:
    from ..train.__main__ import main, parse

    main(parse(arguments, f"{PROG} train"))
    return DONE


def _info(arguments: list[str], debug: bool) -> int:
    options = info_parser(PROG).parse_args(arguments)
    from .info import info

    try:
        text = info(options.network)
    except (ValueError, OSError) as error:
        say(error, debug=debug)
        return WRONG_USE
    print(text)
    return DONE


COMMANDS: dict[str, tuple[Command, str]] = {
    "demosaic": (
        _on_pictures(demosaic_parser, "demosaicker"),
        "colours from camera files and mosaics",
    ),
    "interpolate": (
        _on_pictures(interpolate_parser, "interpolator"),
        "pictures of twice the height and width",
    ),
    "denoise": (_on_pictures(denoise_parser, "denoiser"), "pictures with less noise"),
    "eval": (_eval, "compare methods on folders of photographs"),
    "train": (_train, "train a network on folders of photographs"),
    "info": (_info, "version, kernels, networks; or one network"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
        arguments: without the name of the command; by default those of the process.

    Example:
        >>> from gsp_unroll.cli import main
        >>> main(["--version"])
        gsp-unroll ...
        0
    """
    try:
        status = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()  # here, where a reader that has left can be answered
        return status
    except BrokenPipeError:
        return _reader_left()


def _run(given: list[str]) -> int:
    try:
        options = _parser().parse_args(given)
        run, _ = COMMANDS[options.command]
        # before the command or behind it, for each of them
        return run([word for word in options.arguments if word != "--debug"], "--debug" in given)
    except SystemExit as end:
        # argparse, which has said why; or a message
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return FAILED
        return int(end.code or DONE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        say(error, debug="--debug" in given)
        return FAILED


def _reader_left() -> int:
    """The end of a command whose output nobody reads on, such as that before `| head -1`."""
    # what is left in the buffer goes nowhere, or Python would complain when it exits
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Restore pictures by graphs that are learned from them.",
        epilog=f"commands:\n{lines}\n\n{PROG} COMMAND --help tells the options.\n\n{ENDINGS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="of the command")
    return parser
