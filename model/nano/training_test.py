"""Tests of packing, of the export and of going on after a kill. Need PyTorch and transformers."""

import json
import pathlib
import tempfile
import unittest

import numpy
import torch

import batches
import checkpoint
import drafter
import export_gguf
import media
import mixture
import ranks
import reference
import train
import vocabulary
import warm_start
from conversation import Conversation


def talk(question, answer):
    return Conversation(
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    )


def noise(shape, high, kind, seed):
    return numpy.random.default_rng(seed).integers(0, high, shape).astype(kind)


def with_picture_and_sound(seed):
    content = [
        {"type": "image", "image": media.Picture(noise((7 * 48, 9 * 48, 3), 256, "uint8", seed))},
        {"type": "text", "text": "Describe."},
        {"type": "audio", "audio": media.Sound(noise(2000, 999, "int16", seed))},
    ]
    return talk(content, "Red.")


TALKS = [talk("Spell cat.", "c-a-t"), with_picture_and_sound(1), with_picture_and_sound(2)]


def hidden(model, batch):
    window = model.config.text_config.sliding_window
    with torch.inference_mode():
        return model.model.language_model(
            inputs_embeds=batches.embeddings(model, batch),
            position_ids=batch.positions,
            attention_mask=batches.masks(batch, window, torch.float32),
            use_cache=False,
        ).last_hidden_state


class BatchesTest(unittest.TestCase):
    # Given conversations with text, pictures and sounds packed into one row, expect the hidden
    # states that each has alone: masks, positions and the order of media are right.
    def test_packed_conversations_do_not_see_each_other(self):
        model = checkpoint.new_model(seed=1).eval()
        encoder = batches.Encoder()
        encoded = [encoder.encode(item) for item in TALKS]
        length = sum(len(item.tokens) for item in encoded) + 5
        packed = hidden(model, batches.tensors([encoded], length))
        start = 0
        for item in encoded:
            alone = hidden(model, batches.tensors([[item]], len(item.tokens)))
            torch.testing.assert_close(
                packed[:, start : start + len(item.tokens)], alone, atol=2e-4, rtol=0
            )
            start += len(item.tokens)

    # Given a picture, expect that its tokens see each other both ways on sliding layers and
    # backwards alone on full ones, and that text before it does not see it.
    def test_masks_of_pictures(self):
        item = batches.Encoder().encode(with_picture_and_sound(1))
        batch = batches.tensors([[item]], len(item.tokens))
        masks = batches.masks(batch, window=512, dtype=torch.float32)
        places = [i for i, block in enumerate(item.blocks) if block]
        first, last = places[0], places[-1]
        self.assertEqual(masks["sliding_attention"][0, 0, first, last], 0)
        self.assertLess(masks["full_attention"][0, 0, first, last], -1e30)
        self.assertLess(masks["sliding_attention"][0, 0, first - 1, first], -1e30)
        near = batches.masks(batch, window=5, dtype=torch.float32)["sliding_attention"]
        self.assertEqual(near[0, 0, first, last], 0)
        self.assertLess(near[0, 0, last, first], -1e30)

    # Given pictures and sounds, expect the reference's own embedding of the same prompt.
    def test_embeddings_are_the_reference_s(self):
        model = checkpoint.new_model(seed=1).eval()
        item = batches.Encoder().encode(with_picture_and_sound(3))
        batch = batches.tensors([[item]], len(item.tokens))
        with torch.inference_mode():
            found = batches.embeddings(model, batch)[0]
            pixels = batch.patches[None].to(torch.float32) / 255
            expected = model.model.get_image_features(pixels, batch.patch_positions[None])
            sound = model.model.get_audio_features(batch.frames[None])
        tokens = batch.tokens[0]
        seen, heard = tokens == vocabulary.IMAGE, tokens == vocabulary.AUDIO
        torch.testing.assert_close(found[seen], expected.pooler_output[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(found[heard], sound.pooler_output[0], atol=1e-4, rtol=0)

    # Given a conversation, expect that exactly the answer and the end of its turn are learned, one
    # step ahead.
    def test_only_answers_are_learned(self):
        encoder = batches.Encoder()
        labels = encoder.encode(TALKS[0]).labels
        learned = [label for label in labels if label != batches.IGNORED]
        decoded = encoder.tokenizer.decode(learned, skip_special_tokens=False)
        self.assertEqual(decoded, "c-a-t<turn|>")

    # Given a seed and an index, expect one batch, whatever was drawn before.
    def test_batches_depend_on_seed_and_index_alone(self):
        def tokens(seed, index, before=()):
            packer = batches.Packer(seed, mixture.Mixture(None))
            for earlier in before:
                packer.batch(earlier, 2, 256, mixture.SMOKE)
            return packer.batch(index, 2, 256, mixture.SMOKE).tokens

        self.assertTrue(torch.equal(tokens(1, 7, before=(0,)), tokens(1, 7)))
        self.assertFalse(torch.equal(tokens(1, 7), tokens(2, 7)))


class ReferenceTest(unittest.TestCase):
    # Given prompts of unlike lengths in one batch, expect the answers that each gets alone.
    def test_batched_answers_are_those_of_single_ones(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name) / "model"
            checkpoint.export(checkpoint.new_model(seed=1), folder)
            asked = reference.Reference(folder)
            encoded = [
                asked.encoder.encode(Conversation(item.messages[:-1])) for item in TALKS
            ]
            together = asked.generate(encoded, 6)
            alone = [asked.generate([item], 6)[0] for item in encoded]
            self.assertEqual(together, alone)


class DrafterTest(unittest.TestCase):
    # Given a batch, expect that the drafter sees keys before the newest token alone, the window's
    # and one more on sliding layers.
    def test_keys_before_the_newest_token(self):
        item = batches.Encoder().encode(TALKS[0])
        masks = drafter.before(batches.tensors([[item]], len(item.tokens)), window=4)
        allowed = (masks["sliding_attention"][0, 0, 10] == 0).nonzero().flatten().tolist()
        self.assertEqual(allowed, [5, 6, 7, 8, 9])
        allowed = (masks["full_attention"][0, 0, 10] == 0).nonzero().flatten().tolist()
        self.assertEqual(allowed, list(range(10)))

    # Given a drafter whose drafts are always right, expect all accepted up to the answer's end; and
    # given one that is always wrong, none.
    def test_accepted_drafts_are_counted(self):
        target = checkpoint.new_model(seed=1).eval()
        item = batches.Encoder().encode(talk("Say.", "abcdefgh"))
        batch = batches.tensors([[item]], len(item.tokens))
        answer = [label for label in item.labels if label != batches.IGNORED]
        for offset, expected in ((0, [3, 3]), (1, [0] * (len(answer) - 1))):
            knowing = Knowing(batch, offset)
            self.assertEqual(drafter.accepted(knowing, target, batch), expected)


class Knowing:
    """Drafts the labels themselves, or their neighbours in the vocabulary."""

    def __init__(self, batch, offset):
        self.labels = torch.where(batch.labels == batches.IGNORED, 0, batch.labels) + offset
        self.draft = 0

    def step(self, embedded, state, seen):
        wanted = drafter.shifted(self.labels, self.draft, 0)
        self.draft += 1
        return torch.nn.functional.one_hot(wanted, vocabulary.VOCABULARY_SIZE).float(), state


class RanksTest(unittest.TestCase):
    # Given one rank, expect its own gradients, with zeros for a weight that was not used.
    def test_single_rank_keeps_its_gradients(self):
        meeting = ranks.start_others(1, None, None)
        ranks.join(0, 1, meeting)
        used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
        (2 * used).sum().backward()
        self.assertEqual(ranks.average([used, unused], [0.5]), [0.5])
        ranks.leave(meeting)
        self.assertEqual(used.grad.tolist(), [2, 2])
        self.assertEqual(unused.grad.tolist(), [0, 0, 0])


class GgufTest(unittest.TestCase):
    # Given an export, expect that the text weights read back are those written, to the rounding of
    # eight bits, and that patches became planar.
    def test_text_weights_survive(self):
        import gguf

        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name) / "model"
            model = checkpoint.new_model(seed=1)
            checkpoint.export(model, folder)
            tensors = export_gguf.read(folder)
            path = pathlib.Path(name) / "facet-nano.gguf"
            export_gguf.write(
                path, "gemma4", export_gguf.text_fields, export_gguf.text_tensors(tensors)
            )
            loaded = checkpoint.new_model(seed=2)
            self.assertEqual(warm_start.load(loaded, path), 79)
            pairs = zip(
                model.model.language_model.parameters(), loaded.model.language_model.parameters()
            )
            for written, found in pairs:
                bound = 0.51 * written.abs().max().item() / 127 if written.ndim == 2 else 1e-6
                self.assertLessEqual((written - found).abs().max().item(), bound + 1e-4)
            self.assertEqual(list(pathlib.Path(name).glob("*.tmp")), [])
            projector = export_gguf.projector_tensors(tensors)
            dense = tensors["model.vision_embedder.patch_dense.weight"]
            planar = projector["v.patch_embd.weight"][0]
            self.assertEqual(planar[3, 2 * 2304 + 5 * 48 + 7], dense[3, (5 * 48 + 7) * 3 + 2])
            self.assertEqual(gguf.GGMLQuantizationType.Q8_0, projector["v.patch_embd.weight"][1])


class CheckpointTest(unittest.TestCase):
    # Given an export over an older one, expect the new weights with their layer scalars, and
    # nothing else left behind.
    def test_export_replaces_the_folder(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name) / "model"
            checkpoint.export(checkpoint.new_model(seed=1), folder)
            checkpoint.export(checkpoint.new_model(seed=2), folder)
            self.assertEqual([path.name for path in pathlib.Path(name).iterdir()], ["model"])
            loaded = checkpoint.Gemma4UnifiedForConditionalGeneration.from_pretrained(folder)
            layers = loaded.model.language_model.layers
            for layer, scalar in zip(layers, checkpoint.LAYER_SCALARS, strict=True):
                self.assertEqual(layer.layer_scalar.item(), scalar)
            expected = checkpoint.new_model(seed=2).model.language_model.embed_tokens.weight
            found = loaded.model.language_model.embed_tokens.weight
            self.assertTrue(torch.equal(found, expected))
            config = json.loads((folder / "config.json").read_text())
            self.assertEqual(config["text_config"]["vocab_size"], vocabulary.VOCABULARY_SIZE)
            self.assertEqual(config["image_token_id"], vocabulary.IMAGE)


class RateTest(unittest.TestCase):
    # Given a run, expect the rate to rise, to stay, and to fall to zero at the end of the budget.
    def test_rate_rises_stays_and_falls(self):
        self.assertLess(train.rate_scale(0, 0.0), 0.1)
        self.assertEqual(train.rate_scale(1000, 0.3), 1.0)
        self.assertAlmostEqual(train.rate_scale(1000, 1 - train.DECAY_SHARE / 2), 0.5)
        self.assertEqual(train.rate_scale(1000, 1.01), 0.0)


if __name__ == "__main__":
    unittest.main()
