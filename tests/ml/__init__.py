import os
import sys

# Part of a file name that is no UTF-8; only some systems have such files.
NOT_TEXT = os.fsdecode(b"\xff") if sys.platform == "linux" else "?"
