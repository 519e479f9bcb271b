#!/usr/bin/env python3
"""Writes the pictures, sounds and clips beside it, and under expected/ what pictures decode to.

Needs Pillow 13, numpy 2 and the ffmpeg 5.1 command; the tests need none of them.
"""

import pathlib
import subprocess

import numpy
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent
EXPECTED = FOLDER / "expected"


def base_picture():
    """A picture whose corners and edges all differ."""
    y, x = numpy.mgrid[0:48, 0:64]
    disc = (x - 20) ** 2 + (y - 15) ** 2 < 100
    rgb = numpy.stack([x * 4, y * 5, 255 - x * 2 - y * 2], axis=-1)
    rgb[disc] = (240, 200, 30)
    return Image.fromarray(rgb.astype(numpy.uint8))


def alpha():
    y, x = numpy.mgrid[0:48, 0:64]
    return Image.fromarray((x * 4 + y * 0).astype(numpy.uint8))


def as_reference(image):
    """RGB as the reference's image processor sees it: turned, then on white unless it is RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return image
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def write_expected(name):
    with Image.open(FOLDER / name) as image:
        image.load()
        as_reference(image).save(EXPECTED / (name + ".png"), optimize=True)


def ffmpeg(arguments, data=None):
    command = ["ffmpeg", "-v", "error", "-y", "-bitexact", *arguments]
    subprocess.run(command, input=data, check=True, cwd=FOLDER)


def write_pictures():
    rgb = base_picture()
    rgba = rgb.copy()
    rgba.putalpha(alpha())
    rgb.save(FOLDER / "rgb.png")
    rgb.save(FOLDER / "rgb.bmp")
    rgb.save(FOLDER / "rgb.gif")
    rgb.save(FOLDER / "rgb.jpg", quality=90)
    rgb.save(FOLDER / "full_chroma.jpg", quality=90, subsampling=0)
    rgb.save(FOLDER / "half_width.jpg", quality=90, subsampling=1)
    rgb.crop((0, 0, 63, 47)).save(FOLDER / "odd_sides.jpg", quality=90)
    rgb.save(FOLDER / "progressive.jpg", quality=90, progressive=True)
    rgb.convert("CMYK").save(FOLDER / "cmyk.jpg", quality=90)
    rgb.convert("L").save(FOLDER / "gray.jpg", quality=90)
    rgb.save(FOLDER / "rgb.webp", quality=90)
    rgb.save(FOLDER / "lossless.webp", lossless=True)
    rgba.save(FOLDER / "alpha.webp", lossless=True)
    rgba.save(FOLDER / "alpha_lossy.webp", quality=90)
    rgba.save(FOLDER / "alpha.png")
    rgba.save(FOLDER / "alpha.bmp")
    rgba.convert("LA").save(FOLDER / "gray_alpha.png")
    rgb.convert("L").save(FOLDER / "gray.png")
    rgb.convert("L").convert("1").save(FOLDER / "bilevel.png")
    rgb.convert("L").convert("1").save(FOLDER / "bilevel.bmp")
    palette = rgb.quantize(16)
    palette.save(FOLDER / "palette.png")
    palette.save(FOLDER / "palette_transparent.png", transparency=palette.getpixel((20, 15)))
    palette.save(FOLDER / "transparent.gif", transparency=palette.getpixel((20, 15)))
    rgb.save(FOLDER / "rgb_key.png", transparency=(240, 200, 30))
    mirrored = ImageOps.mirror(rgb)
    rgb.save(FOLDER / "animated.gif", save_all=True, append_images=[mirrored], duration=100)
    ffmpeg(["-i", "rgb.png", "-flags", "+ildct", "interlaced.png"])
    ffmpeg(["-i", "rgb.png", "-pix_fmt", "rgb48be", "rgb16.png"])
    ffmpeg(["-i", "rgb.png", "-pix_fmt", "rgb565le", "rgb565.bmp"])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        rgb.save(FOLDER / f"orientation_{orientation}.jpg", quality=90, exif=exif)
    exif[0x0112] = 6
    rgb.save(FOLDER / "orientation_6.webp", quality=90, exif=exif)
    for pattern in ("*.png", "*.jpg", "*.bmp", "*.gif", "*.webp"):
        for path in FOLDER.glob(pattern):
            write_expected(path.name)
    # 16 bits a sample: the reference reads the high byte.
    write_expected("rgb16.png")
    # No expectation: refused.
    rgb.save(FOLDER / "animated.webp", save_all=True, append_images=[mirrored], duration=100)


def write_sounds():
    """Half a second of 440 Hz, 0.5 on the left and 0.25 on the right."""
    time = numpy.arange(22050) / 44100
    tone = numpy.sin(2 * numpy.pi * 440 * time)
    samples = numpy.stack([0.5 * tone, 0.25 * tone], axis=-1).astype("<f4").tobytes()
    source = ["-f", "f32le", "-ar", "44100", "-ac", "2", "-i", "-"]
    # Of itself ffmpeg mixes floats to another loudness than integers.
    mean = ["-af", "pan=mono|c0=0.5*c0+0.5*c1"]
    for name, codec in {
        "tone_u8.wav": ["-c:a", "pcm_u8", "-ar", "8000"],
        "tone_s16.wav": ["-c:a", "pcm_s16le", "-ar", "8000"],
        "tone_s24.wav": ["-c:a", "pcm_s24le", "-ar", "8000", *mean],
        "tone_f32.wav": ["-c:a", "pcm_f32le", "-ar", "8000", *mean],
        "tone_mulaw.wav": ["-c:a", "pcm_mulaw", "-ar", "8000", *mean],
        "tone.mp3": ["-c:a", "libmp3lame", "-b:a", "64k"],
        "tone.flac": ["-c:a", "flac", "-ar", "8000"],
        "tone_opus.ogg": ["-c:a", "libopus", "-b:a", "32k"],
        "tone_vorbis.ogg": ["-c:a", "libvorbis", "-q:a", "1"],
        "tone_aac.m4a": ["-c:a", "aac", "-b:a", "64k"],
        "tone_alac.m4a": ["-c:a", "alac", "-ar", "16000", *mean],
        "no_samples.wav": ["-c:a", "pcm_s16le", "-t", "0"],
    }.items():
        ffmpeg([*source, *codec, name], samples)
    # What a few bytes can claim: hours of silence; and both sides of the limit of 30 s.
    silence = ["-f", "lavfi", "-i", "anullsrc=r=2400:cl=mono"]
    ffmpeg([*silence, "-t", "18000", "-c:a", "flac", "-frame_size", "65535", "five_hours.flac"])
    ffmpeg([*silence, "-t", "30", "-ar", "8000", "-c:a", "flac", "thirty_seconds.flac"])
    ffmpeg([*silence, "-t", "30.1", "-ar", "8000", "-c:a", "flac", "over_thirty_seconds.flac"])
    ffmpeg(["-f", "lavfi", "-i", "anullsrc=r=44100:cl=mono", "-t", "30", "-c:a", "flac",
            "thirty_seconds_44100.flac"])
    ffmpeg(["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "0.072", "-c:a", "libmp3lame",
            "-b:a", "8k", "-write_xing", "0", "-id3v2_version", "0", "silent_frames.mp3"])


def clip(count, width=96, height=64):
    """Frame i is all of grey level 20 + 6 * i, which survives any codec, modulo 40 frames."""
    return b"".join(
        numpy.full((height, width, 3), 20 + 6 * (i % 35), numpy.uint8).tobytes()
        for i in range(count))


def write_clips():
    """3.5 s at 10 frames a second, the same in each container and codec."""
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64", "-r", "10", "-i", "-"]
    yuv = ["-pix_fmt", "yuv420p"]
    h264 = [*yuv, "-c:v", "libx264", "-bf", "2", "-g", "12", "-threads", "1"]
    for name, codec in {
        "h264.mp4": h264,
        "h264.mov": [*h264, "-movflags", "+faststart"],
        "hevc.mp4": [*yuv, "-c:v", "libx265", "-x265-params", "log-level=none:pools=none"],
        "vp8.webm": [*yuv, "-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "10"],
        "vp9.webm": [*yuv, "-c:v", "libvpx-vp9", "-lag-in-frames", "10"],
        "av1.mkv": [*yuv, "-c:v", "libaom-av1", "-cpu-used", "8"],
        "mpeg4.avi": [*yuv, "-c:v", "mpeg4", "-q:v", "2"],
        "mjpeg.mov": ["-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "2"],
    }.items():
        ffmpeg([*source, *codec, name], clip(35))
    ffmpeg(["-i", "h264.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=90", "rotated.mp4"])
    slow = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "32x32", "-r", "2", "-i", "-"]
    ffmpeg([*slow, *h264, "sixty_seconds.mp4"], clip(120, 32, 32))
    ffmpeg([*slow, *h264, "over_sixty_seconds.mp4"], clip(121, 32, 32))
    ffmpeg(["-f", "lavfi", "-i", "color=black:s=5120x2880:r=1", "-t", "1", *h264, "5k.mp4"])
    ffmpeg(["-i", "tone_aac.m4a", "-c", "copy", "no_video.mp4"])


def main():
    EXPECTED.mkdir(exist_ok=True)
    write_pictures()
    write_sounds()
    write_clips()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.stat().st_size > 20_000:
            print("too large:", path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
