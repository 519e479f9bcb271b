"""Pictures, sounds and clips as the model takes them: patches of 48 x 48 pixels, frames of 640
samples.

The rules are Gemma 4's own: a picture is stretched to fill its budget of patches with an
antialiased bicubic filter, a sound is 16,000 samples a second, a clip is one frame a second.
"""

import base64
import dataclasses
import io
import math
import struct
import subprocess
import tempfile
import wave
import zlib

import numpy

PATCH_PIXELS = 48
# Patches of one picture or video frame. Gemma's own budget is 280 for a picture and 70 for a frame;
# two processor cores learn with 70 alone, and the exported files say so.
PATCHES_MAX = 70
SAMPLES_PER_FRAME = 640
SAMPLES_PER_SECOND = 16_000


@dataclasses.dataclass(frozen=True)
class Picture:
    pixels: numpy.ndarray  # uint8, [height, width, 3]


@dataclasses.dataclass(frozen=True)
class Sound:
    samples: numpy.ndarray  # int16, [count]


@dataclasses.dataclass(frozen=True)
class Clip:
    frames: list  # of Picture, all of one size, one a second


def fitted_size(height, width):
    """(height, width) after the resize: multiples of 48 that fill the budget."""
    factor = math.sqrt(PATCHES_MAX * PATCH_PIXELS**2 / (height * width))
    rows = math.floor(factor * height / PATCH_PIXELS)
    columns = math.floor(factor * width / PATCH_PIXELS)
    if rows == 0:
        rows, columns = 1, min(width // height, PATCHES_MAX)
    elif columns == 0:
        rows, columns = min(height // width, PATCHES_MAX), 1
    return rows * PATCH_PIXELS, columns * PATCH_PIXELS


def resize(pixels):
    """The same pixels if the size fits already."""
    size = fitted_size(*pixels.shape[:2])
    if size == pixels.shape[:2]:
        return pixels
    import torch  # the filter that Gemma's own processor uses

    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size=size, mode="bicubic", antialias=True)
    return planes[0].permute(1, 2, 0).contiguous().numpy()


def patches(picture):
    """(uint8 [patches, 6912] in rows of red, green, blue; their (x, y), int64 [patches, 2])."""
    pixels = resize(picture.pixels)
    rows, columns = pixels.shape[0] // PATCH_PIXELS, pixels.shape[1] // PATCH_PIXELS
    cut = pixels.reshape(rows, PATCH_PIXELS, columns, PATCH_PIXELS, 3).transpose(0, 2, 1, 3, 4)
    y, x = numpy.divmod(numpy.arange(rows * columns), columns)
    return cut.reshape(rows * columns, -1), numpy.stack([x, y], axis=1)


def frames(sound):
    """float32 [frames, 640] in [-1, 1]; the last frame is filled with zeros."""
    count = -(-len(sound.samples) // SAMPLES_PER_FRAME)
    padded = numpy.zeros(count * SAMPLES_PER_FRAME, numpy.float32)
    padded[: len(sound.samples)] = sound.samples.astype(numpy.float32) / 32768
    return padded.reshape(count, SAMPLES_PER_FRAME)


def png(picture):
    """The picture as the bytes of a PNG file."""
    height, width = picture.pixels.shape[:2]

    def chunk(name, data):
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    rows = b"".join(b"\0" + row.tobytes() for row in picture.pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def wav(sound):
    """The sound as the bytes of a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, SAMPLES_PER_SECOND, 0, "NONE", ""))
        writer.writeframes(sound.samples.tobytes())
    return file.getvalue()


def mkv(clip):
    """The clip as the bytes of a Matroska file: H.264 without loss, one frame a second."""
    height, width = clip.frames[0].pixels.shape[:2]
    command = ["ffmpeg", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", "1", "-i", "-"]
    command += ["-c:v", "libx264rgb", "-qp", "0", "-f", "matroska", "-y"]
    pixels = b"".join(frame.pixels.tobytes() for frame in clip.frames)
    with tempfile.NamedTemporaryFile() as file:  # a pipe would leave out the length of the clip
        subprocess.run(command + [file.name], input=pixels, check=True)
        return file.read()


def data_url(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
