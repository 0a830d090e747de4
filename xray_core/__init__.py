"""The pure core of RadTune: arrays in, new arrays out, no Streamlit.

Importing this package fixes how OpenCV computes, so it must come before any other import of ``cv2``: Intel's IPP,
bundled in OpenCV's x86 wheels, changes the bilateral result with the processor, and CLAHE then amplifies the
difference.
"""

import os
import sys
import warnings

__version__ = "0.4.0"

if "cv2" in sys.modules and sys.modules["cv2"].ipp.useIPP():
    warnings.warn(
        "cv2 was imported before xray_core, so Intel IPP is on: results may differ from those of another machine. "
        "Import xray_core first, or set OPENCV_IPP=disabled.",
        stacklevel=2,
    )
os.environ["OPENCV_IPP"] = "disabled"
# OpenCV announces on stderr that IPP is off, and every damaged file a second time in its own words.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
