"""The options of each command; torch is not imported for them."""

from __future__ import annotations

import argparse
import math

#: Millions of pixels beyond which a picture is refused: more than most cameras have, and about 6 GB
#: of memory.
MEGAPIXELS = 64.0

PICTURES = """\
IN is any number of files, folders (searched with all folders in them) and patterns such as
'*.png' or '**/*.tif'. OUT is a file if IN is one file and OUT ends like one; otherwise it is a
folder, made where there is none. In a folder, TIFF files stay TIFF, all others become PNG.
16 bits stay 16 bits. A file that cannot be restored is reported, and the others are done.
"""


def demosaic_parser(prog: str) -> argparse.ArgumentParser:
    """Options of `demosaic`."""
    parser = _pictures(
        f"{prog} demosaic",
        "The colours of frames that a camera took through a Bayer array, one colour a pixel.\n\n"
        "Camera files (DNG and what else LibRaw knows, extra `raw`) tell their own pattern, white\n"
        "balance and orientation; their colours are the camera's, with gamma 2.2 and 16 bits.\n"
        "Other pictures are mosaics if they are grey: one value a pixel, white balanced and with\n"
        "gamma.",
    )
    parser.add_argument(
        "--pattern",
        choices=["RGGB", "GRBG", "GBRG", "BGGR"],
        default="RGGB",
        help="colours of the top left 2x2 pixels, row by row, if no file tells (%(default)s)",
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="IN are pictures in colours: keep one a pixel, restore the others, and tell the PSNR",
    )
    _network(parser, "mosaic")
    return parser


def interpolate_parser(prog: str) -> argparse.ArgumentParser:
    """Options of `interpolate`."""
    parser = _pictures(
        f"{prog} interpolate",
        "Pictures of twice the height and width. Every pixel of IN is taken for one exact point\n"
        "of the larger picture, at an even row and column, and comes back unchanged.\n\n"
        "For pictures whose pixels were samples: decimated without a filter, renderings, scans of\n"
        "points. Photographs that were reduced with a filter come out too sharp. The network\n"
        "restores the luma; colour differences are interpolated by cubic convolution.",
    )
    _network(parser, "interpolate")
    return parser


def denoise_parser(prog: str) -> argparse.ArgumentParser:
    """Options of `denoise`."""
    parser = _pictures(
        f"{prog} denoise",
        "Pictures with less noise. No network: a convex problem, the graph Laplacian regulariser\n"
        "min 1/2 |x - y|^2 + mu/2 x'Lx, solved twice, on bilateral weights of the noisy colours\n"
        "and then on those of the first result.\n\n"
        "For white noise of one strength in all colours, about as good as non-local means. In a\n"
        "JPEG or a reduced photograph noise is not white, and the estimate is too low.",
    )
    parser.add_argument(
        "--sigma",
        type=_positive,
        help="standard deviation of the noise, 0 to 255 (estimated from each picture)",
    )
    _device(parser)
    return parser


def info_parser(prog: str) -> argparse.ArgumentParser:
    """Options of `info`."""
    parser = argparse.ArgumentParser(
        prog=f"{prog} info",
        description="Version, kernels of this machine and packaged networks; or, of one network, "
        "how it is built and what it was trained on.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "network",
        nargs="?",
        help="name of a packaged network, file of weights, folder of a training",
    )
    _debug(parser)
    return parser


def _pictures(prog: str, description: str) -> argparse.ArgumentParser:
    """What all commands on pictures have."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"{description}\n\n{PICTURES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [options] IN [IN ...] OUT",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="IN ... OUT", help="pictures, and where the results go")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace files that exist")
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave them, and what they are made of, alone"
    )
    add("--bits", type=int, choices=[8, 16], help="of a value in OUT (as in IN)")
    add(
        "--suffix",
        choices=[".png", ".tif", ".jpg", ".webp"],
        help="kind of the files in a folder OUT (see above)",
    )
    add(
        "--max-megapixels",
        type=_positive,
        default=MEGAPIXELS,
        metavar="MP",
        help="refuse a picture with more million pixels in OUT (%(default)g)",
    )
    _debug(parser)
    return parser


def _network(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--network",
        default=default,
        help="packaged network, file of weights, or folder of a training (%(default)s)",
    )
    _device(parser)


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, ... (cuda where there is one)")


def _debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show where an error came from")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value
