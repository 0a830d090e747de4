"""The page that live.py compares with: what a newcomer writes first, with nothing held back and nothing made worse.

Every move runs the whole script. Usage: ``NAIVE_ROOT=folder streamlit run benchmarks/naive_page.py``, and
``?film=name`` in the address.
"""

import os
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import streamlit as st
from skimage.metrics import structural_similarity


@st.cache_data
def load(name: str) -> np.ndarray:
    return cv2.imread(str(Path(os.environ["NAIVE_ROOT"]) / Path(name).name), cv2.IMREAD_UNCHANGED)


def enhance(film: np.ndarray, d: int, clip_limit: float, sharpness: float) -> np.ndarray:
    """Make the published calls; at 16 bits by way of float32, which the bilateral filter takes instead."""
    white = np.iinfo(film.dtype).max
    if film.dtype == np.uint16:
        levels = film.astype(np.float32) / 257
        denoised = cv2.bilateralFilter(levels, d=d, sigmaColor=50, sigmaSpace=50)
        denoised = (denoised * 257).astype(np.uint16)
    else:
        denoised = cv2.bilateralFilter(film, d=d, sigmaColor=50, sigmaSpace=50)
    contrast = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(8, 8)).apply(denoised)
    kernel = np.array([[0, -0.5, 0], [-0.5, sharpness, -0.5], [0, -0.5, 0]])
    sharpened = cv2.filter2D(contrast, -1, kernel)
    return cv2.normalize(sharpened, None, 0, white, cv2.NORM_MINMAX).astype(film.dtype)


def shown(film: np.ndarray) -> np.ndarray:
    return film if film.dtype == np.uint8 else (film // 257).astype(np.uint8)


st.set_page_config(layout="wide")
before = load(st.query_params.get("film", "chest.png"))
with st.sidebar:
    d = st.slider("d", 3, 15, 5, 2)
    clip_limit = st.slider("clip limit", 1.0, 8.0, 1.5, 0.1)
    sharpness = st.slider("sharpness", 1.0, 5.0, 3.0, 0.1)
after = enhance(before, d, clip_limit, sharpness)
left, right = st.columns(2)
left.image(shown(before), caption="before", output_format="PNG")
right.image(shown(after), caption="after", output_format="PNG")
ssim = structural_similarity(before, after, data_range=np.iinfo(before.dtype).max)  # type: ignore[no-untyped-call]
st.metric("SSIM", f"{ssim:.9f}")
figure, axes = plt.subplots(figsize=(8, 2))
axes.hist(before.ravel(), bins=256, histtype="step", label="before")
axes.hist(after.ravel(), bins=256, histtype="step", label="after")
axes.legend()
st.pyplot(figure)
plt.close(figure)
