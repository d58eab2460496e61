"""Made-up corpora, small enough to be made again for every test."""

import io
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

RATE_HZ = 16_000


def tone(seconds: float = 1.0, hz: float = 440.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return (
        0.3 * 32767 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    ).astype(np.int16)


def encode_g722(audio: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="g722") as container:
        stream = container.add_stream("g722", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(audio[None, :], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def ar_member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)


def write_deb(path: Path, files: dict[str, bytes], compression: str = "xz") -> Path:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{compression}") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    suffix = f".{compression}" if compression else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"!<arch>\n"
        + ar_member("debian-binary", b"2.0\n")
        + ar_member(f"control.tar{suffix}", b"odd")  # three bytes: the next member is padded
        + ar_member(f"data.tar{suffix}", data.getvalue())
    )
    return path


def write_chapter(folder: Path, speaker: str, chapter: str, texts: list[str]) -> Path:
    """One chapter in LibriSpeech's layout; every utterance is a tone of its own pitch."""
    chapter_folder = folder / speaker / chapter
    chapter_folder.mkdir(parents=True)
    lines = []
    for number, text in enumerate(texts):
        name = f"{speaker}-{chapter}-{number:04d}"
        audio = tone(1.0 + 0.1 * number, hz=200 + 50 * number + int(speaker))
        soundfile.write(chapter_folder / f"{name}.flac", audio, RATE_HZ)
        lines.append(f"{name} {text}\n")
    (chapter_folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return chapter_folder


@pytest.fixture
def miniature(tmp_path: Path) -> Path:
    """Six speakers, twelve utterances."""
    folder = tmp_path / "LibriSpeech"
    for speaker in ("19", "26", "32", "39", "40", "83"):
        write_chapter(
            folder, speaker, "198", [f"SPEAKER {'ABCDEF'[int(speaker) % 6]} SPEAKS", "IT'S SO"]
        )
    return folder
