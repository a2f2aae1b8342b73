"""Synthesised sounds as spectrograms, held out by pitch register and noise.

Half a second at 8,000 samples a second. A sound has a base pitch f, a level and noise:

- Pitch: f is uniform on a logarithmic scale within a register of half an octave from 150 · 2^(k/2)
  Hz. Registers k = 0 and 2 are trained on; 1 and 3 are held out.
- Noise: white, weaker than the sound by −2 … 8 dB in training and by −13 … −5 dB held out, at the
  default `clutter`; 24 · (`clutter` − 0.5) dB stronger otherwise.
- Every sound begins within the first 15% and rises and falls over 20 ms.

`sweep-up` and `sweep-down` move by an octave, `glide` rises by an octave in four steps, `vibrato`
moves by ±0.12 octaves 5 to 9 times a second; `tremolo` changes in loudness as often. `third`,
`fourth` and `fifth` are two tones of ratio 5/4, 4/3 and 3/2. All of these have harmonics h of
amplitude h^−2. `saw` has all harmonics of amplitude 1/h, `square` the odd ones. `bursts` are 3 to 6
bursts of noise around f, an octave wide; `clicks` are 8 to 14 clicks that ring at f.

The picture is 20 log10 of the magnitude of the short-time Fourier transform (Hann windows of
32 ms), at `side` times and in `side` bands that are equal on a logarithmic scale, from 120 to
3,900 Hz, low ones at the bottom; the median is a quarter grey, and black is 40 dB below white.
Grey, one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from audit.plugin import Split
from audit_datasets._drawn import drawn_dataset

STYLES: Final[Mapping[Split, tuple[str, ...]]] = {
    "train": ("register-0", "register-2"),
    "held_out": ("register-1", "register-3"),
}
_RATE: Final = 8000  # samples per second
_SECONDS: Final = 0.5
_WINDOW: Final = 256  # samples
_RANGE: Final = 40.0  # dB from black to white


def _drawing(
    sound: str, style: str, rng: np.random.Generator, side: int, clutter: float
) -> np.ndarray:
    """The spectrogram of one sound; see the module."""
    time = np.arange(round(_RATE * _SECONDS)) / _RATE
    register = int(style.rpartition("-")[2])
    pitch = 150 * 2 ** ((register + rng.random()) / 2)
    start, end = rng.uniform(0, 0.15) * _SECONDS, rng.uniform(0.9, 1) * _SECONDS
    edge = np.clip(np.minimum(time - start, end - time) / 0.02, 0, 1)
    wave = edge * _SOUNDS[sound](time, pitch, rng)
    quieter = rng.uniform(-13, -5) if style in STYLES["held_out"] else rng.uniform(-2, 8)
    noise = rng.standard_normal(len(time)) * 10 ** (-(quieter - 24 * (clutter - 0.5)) / 20)
    return _spectrogram(wave / wave.std() + noise, side)


def _spectrogram(wave: np.ndarray, side: int) -> np.ndarray:
    """Magnitudes in dB around their median, as grey levels, shape (side, side)."""
    from scipy import signal

    hop = (len(wave) - _WINDOW) / (side - 1)
    starts = np.floor(hop * np.arange(side)).astype(np.int64)
    frames = wave[starts[:, None] + np.arange(_WINDOW)] * signal.windows.hann(_WINDOW)
    magnitudes = np.abs(np.fft.rfft(frames, n=4 * _WINDOW))
    frequencies = np.fft.rfftfreq(4 * _WINDOW, 1 / _RATE)
    edges = np.geomspace(120, 3900, side + 1)
    places = np.searchsorted(frequencies, edges)
    power = np.add.reduceat(magnitudes**2, places, axis=1)[:, :side]
    power /= np.maximum(np.diff(places), 1)
    decibels = 10 * np.log10(power + 1e-12 * power.max())
    levels: np.ndarray = 0.25 + (decibels - np.median(decibels)).T[::-1] / _RANGE
    return levels


def _tone(
    pitch: np.ndarray, rng: np.random.Generator, power: float = 2.0, step: int = 1
) -> np.ndarray:
    """A tone whose pitch (Hz) may move; every `step`-th harmonic h has the amplitude h^−power."""
    phase = 2 * np.pi * np.cumsum(pitch) / _RATE + rng.uniform(0, 2 * np.pi)
    harmonics = range(1, 12, step)
    audible = [h for h in harmonics if h * pitch.max() < _RATE / 2]
    tone: np.ndarray = np.sum([h**-power * np.sin(h * phase) for h in audible], axis=0)
    return tone


def _steady(time: np.ndarray, pitch: float) -> np.ndarray:
    """A pitch that stays."""
    return np.full(len(time), pitch)


def _sweep(time: np.ndarray, pitch: float, rng: np.random.Generator, direction: int) -> np.ndarray:
    """An octave up (1) or down (−1)."""
    octaves = direction * (time / time[-1] - 0.5)
    return _tone(pitch * 2 ** (octaves + 0.5), rng)


def _glide(time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """An octave up in four steps."""
    return _tone(pitch * 2 ** (np.floor(4 * time / time[-1] * 0.999) / 3), rng)


def _vibrato(time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """A pitch that swings."""
    swing = np.sin(2 * np.pi * (rng.uniform(5, 9) * time + rng.random()))
    return _tone(pitch * 2 ** (0.12 * swing), rng)


def _tremolo(time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """A loudness that swings."""
    swing = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(5, 9) * time + rng.random()))
    swung: np.ndarray = swing**2 * _tone(_steady(time, pitch), rng)
    return swung


def _two(time: np.ndarray, pitch: float, rng: np.random.Generator, ratio: float) -> np.ndarray:
    """Two tones."""
    return _tone(_steady(time, pitch), rng) + rng.uniform(0.6, 1) * _tone(
        _steady(time, ratio * pitch), rng
    )


def _bursts(time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """Noise around the pitch, on and off."""
    from scipy import signal

    edges = np.array([pitch / 2**0.5, pitch * 2**0.5]) * 2
    noise = signal.sosfilt(
        signal.butter(3, edges, "bandpass", fs=_RATE, output="sos"),
        rng.standard_normal(len(time)),
    )
    turns = time / time[-1] * rng.integers(3, 7) + rng.random()
    bursts: np.ndarray = noise * (turns % 1 < 0.55)
    return bursts


def _clicks(time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """Clicks at equal times that ring."""
    since = (time + rng.uniform(0, 0.1)) % (_SECONDS / rng.integers(8, 15))
    return np.exp(-since / 0.006) * np.sin(2 * np.pi * 2 * pitch * since)


#: Name → time (s), pitch (Hz) and generator to samples of any scale.
_SOUNDS: Final[Mapping[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]]] = {
    "bursts": _bursts,
    "clicks": _clicks,
    "fifth": lambda time, pitch, rng: _two(time, pitch, rng, 3 / 2),
    "fourth": lambda time, pitch, rng: _two(time, pitch, rng, 4 / 3),
    "glide": _glide,
    "saw": lambda time, pitch, rng: _tone(_steady(time, pitch), rng, 1.0),
    "square": lambda time, pitch, rng: _tone(_steady(time, pitch), rng, 1.0, 2),
    "sweep-down": lambda time, pitch, rng: _sweep(time, pitch, rng, -1),
    "sweep-up": lambda time, pitch, rng: _sweep(time, pitch, rng, 1),
    "third": lambda time, pitch, rng: _two(time, pitch, rng, 5 / 4),
    "tremolo": _tremolo,
    "vibrato": _vibrato,
}

DATASETS = (
    drawn_dataset(
        "sounds",
        "spectrograms of synthesised sounds, held out by register and noise, no download",
        tuple(_SOUNDS),
        STYLES,
        _drawing,
    ),
)
