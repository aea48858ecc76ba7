"""Writes a GGUF file of Llama-3.1-8B's shape with random Q4_K weights: 4.6 GB for measurements of memory and speed.

    pip install gguf numpy
    python random_llama.py random-8b-q4_k.gguf [--layers 32]

The weights of a tensor are drawn from a pool of random blocks; no two tensors begin at the same block. The scales make them
about as large as a model's, so that activations stay finite. The vocabulary has one word beyond the bytes.
"""

import argparse

import gguf
import numpy as np

HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 4096, 14336, 32, 8, 128, 128256
BLOCK, BLOCK_BYTES = 256, 144


def pool(rng: np.random.Generator) -> np.ndarray:
    """Random Q4_K blocks: `d s q - dmin m` with s and m below 64 and q below 16 has mean 0 and deviation 0.02."""
    blocks = rng.integers(0, 256, ((VOCABULARY + 64) * HIDDEN // BLOCK, BLOCK_BYTES), dtype=np.uint8)
    blocks[:, 0:2] = np.frombuffer(np.float16(1e-4).tobytes(), np.uint8)
    blocks[:, 2:4] = np.frombuffer(np.float16(7.5e-4).tobytes(), np.uint8)
    return blocks


def byte_alphabet() -> list[str]:
    """The letters that byte-level BPE writes bytes as."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(others))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, default=32)
    arguments = parser.parse_args()
    writer = gguf.GGUFWriter(arguments.out, "llama")
    writer.add_name("random-8b")
    writer.add_block_count(arguments.layers)
    writer.add_context_length(131072)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    tokens = [*byte_alphabet(), "th"]
    tokens += [f"<|reserved_{index}|>" for index in range(len(tokens), VOCABULARY)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 257 + [3] * (VOCABULARY - 257))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(VOCABULARY - 2)
    writer.add_eos_token_id(VOCABULARY - 1)

    rng = np.random.default_rng(0)
    blocks = pool(rng)

    def matrix(name: str, rows: int, columns: int) -> None:
        count = rows * columns // BLOCK
        first = rng.integers(0, len(blocks) - count + 1)
        stored = blocks[first : first + count].reshape(rows, columns // BLOCK * BLOCK_BYTES)
        writer.add_tensor(f"{name}.weight", stored, raw_dtype=gguf.GGMLQuantizationType.Q4_K)

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(HIDDEN, np.float32))

    matrix("token_embd", VOCABULARY, HIDDEN)
    matrix("output", VOCABULARY, HIDDEN)
    norm("output_norm")
    for layer in range(arguments.layers):
        norm(f"blk.{layer}.attn_norm")
        norm(f"blk.{layer}.ffn_norm")
        matrix(f"blk.{layer}.attn_q", HEADS * HEAD_DIM, HIDDEN)
        matrix(f"blk.{layer}.attn_k", KV_HEADS * HEAD_DIM, HIDDEN)
        matrix(f"blk.{layer}.attn_v", KV_HEADS * HEAD_DIM, HIDDEN)
        matrix(f"blk.{layer}.attn_output", HIDDEN, HEADS * HEAD_DIM)
        matrix(f"blk.{layer}.ffn_gate", FEED_FORWARD, HIDDEN)
        matrix(f"blk.{layer}.ffn_up", FEED_FORWARD, HIDDEN)
        matrix(f"blk.{layer}.ffn_down", HIDDEN, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
