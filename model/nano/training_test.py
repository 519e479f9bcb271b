"""Tests of packing, of the export and of going on after a kill.

Skipped where PyTorch is not installed.
"""

import json
import pathlib
import tempfile
import unittest

try:
    import torch

    import batches
    import checkpoint
    import train
except ImportError as error:
    raise unittest.SkipTest(f"training needs PyTorch and transformers: {error}") from error

CONVERSATIONS = [
    [{"role": "user", "content": "Spell cat."}, {"role": "assistant", "content": "c-a-t"}],
    [{"role": "user", "content": "2 + 3"}, {"role": "assistant", "content": "2 + 3 = 5."}],
]


class BatchesTest(unittest.TestCase):
    # Given two conversations packed into one row, expect the logits that each has alone: masks and
    # positions separate.
    def test_packed_conversations_do_not_see_each_other(self):
        model = checkpoint.new_model(seed=1).eval()
        tokenizer = batches.Packer(seed=1).tokenizer
        encoded = [batches.encode_conversation(tokenizer, messages) for messages in CONVERSATIONS]
        length = sum(len(tokens) for tokens, _ in encoded) + 5
        packed = self.hidden(model, batches.tensors([encoded], length))
        start = 0
        for item in encoded:
            alone = self.hidden(model, batches.tensors([[item]], len(item[0])))
            torch.testing.assert_close(
                packed[:, start : start + len(item[0])], alone, atol=2e-4, rtol=0
            )
            start += len(item[0])

    def hidden(self, model, batch):
        masks = batches.masks(batch, model.config.sliding_window, torch.float32)
        with torch.inference_mode():
            output = model.model(
                input_ids=batch.tokens,
                position_ids=batch.positions,
                attention_mask=masks,
                use_cache=False,
            )
        return output.last_hidden_state

    # Given a conversation, expect that exactly the answer and the end of its turn are learned, one
    # step ahead.
    def test_only_answers_are_learned(self):
        tokenizer = batches.Packer(seed=1).tokenizer
        _, labels = batches.encode_conversation(tokenizer, CONVERSATIONS[0])
        learned = [label for label in labels if label != batches.IGNORED]
        self.assertEqual(tokenizer.decode(learned, skip_special_tokens=False), "c-a-t<turn|>")

    # Given a seed and an index, expect one batch, whatever was drawn before.
    def test_batches_depend_on_seed_and_index_alone(self):
        first = batches.Packer(seed=1)
        first.batch(0, 2, 256)
        self.assertTrue(
            torch.equal(
                first.batch(7, 2, 256).tokens, batches.Packer(seed=1).batch(7, 2, 256).tokens
            )
        )
        self.assertFalse(
            torch.equal(
                first.batch(7, 2, 256).tokens, batches.Packer(seed=2).batch(7, 2, 256).tokens
            )
        )


class CheckpointTest(unittest.TestCase):
    # Given an export over an older one, expect the new weights with their layer scalars, and
    # nothing else left behind.
    def test_export_replaces_the_folder(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name) / "model"
            checkpoint.export(checkpoint.new_model(seed=1), folder)
            checkpoint.export(checkpoint.new_model(seed=2), folder)
            self.assertEqual([path.name for path in pathlib.Path(name).iterdir()], ["model"])
            loaded = checkpoint.Gemma4UnifiedForCausalLM.from_pretrained(folder)
            for layer, scalar in zip(loaded.model.layers, checkpoint.LAYER_SCALARS, strict=True):
                self.assertEqual(layer.layer_scalar.item(), scalar)
            expected = checkpoint.new_model(seed=2).model.embed_tokens.weight
            self.assertTrue(torch.equal(loaded.model.embed_tokens.weight, expected))
            self.assertEqual(json.loads((folder / "config.json").read_text())["vocab_size"], 1024)


class RateTest(unittest.TestCase):
    # Given a run, expect the rate to rise, to stay, and to fall to zero at the end of the budget.
    def test_rate_rises_stays_and_falls(self):
        self.assertLess(train.rate_scale(0, 0.0), 0.1)
        self.assertEqual(train.rate_scale(1000, 0.3), 1.0)
        self.assertAlmostEqual(train.rate_scale(1000, 1 - train.DECAY_SHARE / 2), 0.5)
        self.assertEqual(train.rate_scale(1000, 1.01), 0.0)


if __name__ == "__main__":
    unittest.main()
