"""What the three scripts stand on: one subject a module. docs/code.md tells which module does what."""

import logging
import signal
import sys
from pathlib import Path

from metareview.common.early import find_missing
from metareview.common.help import format_help

# Loading PyTorch takes seconds, and an interruption inside it would end in a traceback of its internals. So until
# `cli.run` takes over, Ctrl-C just ends a script of ours (status 130 in a shell); whoever else imports is left alone.
_script = Path(sys.argv[0]).absolute()
_is_ours = _script.is_file() and _script.parent == Path(__file__).absolute().parent.parent
if _is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# A torchvision of another torch, as on Colab after a new torch, does not load, and then transformers doesn't either. No
# text needs them, so our scripts do without: Python takes what is None here for not installed.
if _is_ours:
    for _package in ("torchvision", "torchaudio"):
        sys.modules.setdefault(_package, None)

# PyTorch and transformers take seconds to load, and neither help nor a wrong file name needs them.
if _is_ours and {"-h", "--help"} & set(sys.argv[1:]):
    print(format_help(_script))
    sys.exit()
if _is_ours and "--help_all" not in sys.argv and (_fault := find_missing(_script, sys.argv[1:])):
    print(f"error: {_fault}", file=sys.stderr)
    sys.exit(2)

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # where it is installed, it warns whoever never asked for it
