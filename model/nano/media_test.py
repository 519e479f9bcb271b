"""Tests of patches and frames. Needs numpy; the resize needs PyTorch."""

import struct
import unittest
import zlib

import numpy

import media


class MediaTest(unittest.TestCase):
    # Given sizes, expect those that fill the budget of 70 patches, as the rule of Gemma 4 has it.
    def test_fitted_size(self):
        self.assertEqual(media.fitted_size(384, 384), (384, 384))
        self.assertEqual(media.fitted_size(480, 640), (7 * 48, 9 * 48))
        self.assertEqual(media.fitted_size(720, 1280), (6 * 48, 11 * 48))
        self.assertEqual(media.fitted_size(1, 10_000), (48, 70 * 48))

    # Given a picture of the right size, expect each patch where its position says, in rows of red,
    # green and blue.
    def test_patches(self):
        pixels = numpy.random.default_rng(5).integers(0, 256, (7 * 48, 9 * 48, 3), numpy.uint8)
        patches, positions = media.patches(media.Picture(pixels))
        self.assertEqual(patches.shape, (63, 6912))
        for index in (0, 8, 9, 62):
            x, y = positions[index]
            self.assertEqual((x, y), (index % 9, index // 9))
            cut = pixels[y * 48 : y * 48 + 48, x * 48 : x * 48 + 48]
            self.assertTrue(numpy.array_equal(patches[index], cut.reshape(-1)))

    # Given 16,001 samples, expect 26 frames, the last filled with zeros, of numbers up to one.
    def test_frames(self):
        frames = media.frames(media.Sound(numpy.full(16_001, -32768, numpy.int16)))
        self.assertEqual(frames.shape, (26, 640))
        self.assertEqual(frames[0, 0], -1.0)
        self.assertEqual(frames[25].tolist(), [-1.0] + [0.0] * 639)

    # Given a picture as PNG, expect a header with its size, and its rows when unpacked.
    def test_png(self):
        pixels = numpy.arange(2 * 3 * 3, dtype=numpy.uint8).reshape(2, 3, 3)
        data = media.png(media.Picture(pixels))
        self.assertEqual(struct.unpack(">II", data[16:24]), (3, 2))
        start = data.index(b"IDAT") + 4
        rows = zlib.decompress(data[start:])
        self.assertEqual(rows, b"\0" + bytes(range(9)) + b"\0" + bytes(range(9, 18)))


if __name__ == "__main__":
    unittest.main()
