"""Evicted caches decode as the full cache does with the evicted entries masked. A tiny random model; needs torch and transformers."""

import copy
import gc
import hashlib
import weakref

import numpy as np
import pytest

import laprox

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import laprox.transformers as lt  # noqa: E402

# Deprecations inside transformers are not this package's.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        # Peaked attention, so that a wrong entry shows.
        parameter.data *= 3 if parameter.ndim == 2 else 1
    return model


@pytest.fixture(scope="module")
def ids():
    return torch.randint(3, 97, (1, 120), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def prefilled(model, ids):
    return lt.prefill(model, ids, window=16)


@pytest.mark.parametrize("policy", ["laprox", "snapkv", "streaming", "laprox:allocation=head,pool=none", "full"])
def test_decoding_equals_that_of_the_masked_full_cache(policy, model, ids, prefilled):
    from laprox._check import masked

    tokens = ids[0, :40]
    cache = lt.evict(model, copy.deepcopy(prefilled.cache), prefilled.queries, policy, "30%")
    expected = masked(model, copy.deepcopy(prefilled.cache), cache.plan, tokens)
    assert torch.allclose(lt.continued(model, cache, tokens), expected, rtol=0, atol=1e-4 * expected.abs().max())


def test_a_full_plan_decodes_as_the_model_alone(model, ids, prefilled):
    tokens = ids[0, :40]
    cache = lt.evict(model, copy.deepcopy(prefilled.cache), prefilled.queries, "full", "30%")
    found = lt.continued(model, cache, tokens)
    with lt.attending(model, "eager"), torch.no_grad():
        expected = model(torch.cat([ids, tokens[None]], dim=1)).logits[0, ids.shape[1] :]
    assert torch.allclose(found, expected, rtol=0, atol=1e-4 * expected.abs().max())


def test_several_tokens_at_once_equal_one_by_one(model, ids, prefilled):
    tokens = ids[0, :9]
    cache = lt.evict(model, prefilled.cache, prefilled.queries, "laprox", "30%")
    one_by_one = lt.continued(model, copy.deepcopy(cache), tokens)
    with torch.no_grad():
        at_once = lt.forward(model, tokens[None], cache).logits[0]
    assert torch.allclose(at_once, one_by_one, rtol=0, atol=1e-4 * one_by_one.abs().max())


def test_generate_goes_on_from_an_evicted_cache(model, ids, prefilled):
    cache = lt.evict(model, prefilled.cache, prefilled.queries, "laprox", "30%")
    first = prefilled.logits.argmax().view(1, 1)
    ids = torch.cat([ids, first], dim=1)
    generated = model.generate(ids, past_key_values=copy.deepcopy(cache), max_new_tokens=12, min_new_tokens=12, do_sample=False)
    tokens, expected = first[0], []
    for _ in range(12):
        expected.append(lt.continued(model, cache, tokens)[-1])
        expected[-1][2] = -torch.inf
        tokens = expected[-1].argmax().view(1)
    assert generated[0, 121:].tolist() == [one.argmax().item() for one in expected]


def test_the_memory_of_evicted_entries_is_freed(model, prefilled):
    full = sum(2 * layer.keys.numel() * 4 for layer in prefilled.cache.layers)
    storages = [weakref.ref(layer.keys) for layer in prefilled.cache.layers]
    cache = lt.evict(model, prefilled.cache, prefilled.queries, "laprox", "30%")
    assert cache.nbytes() == full * cache.plan.counts.sum() // (3 * 2 * 120)
    own = [head.untyped_storage().nbytes() for layer in cache.layers for head in (*layer.keys, *layer.values)]
    assert sum(own) == cache.nbytes()
    prefilled.cache.layers.clear()
    gc.collect()
    assert all(storage() is None for storage in storages)


def test_the_plan_is_that_of_the_arrays(model, prefilled):
    layers = [
        {
            "q": prefilled.queries[place].numpy(),
            "k": entries.keys[0].numpy(),
            "v": entries.values[0].numpy(),
            "o_proj": model.model.layers[place].self_attn.o_proj.weight.detach().numpy(),
        }
        for place, entries in enumerate(prefilled.cache.layers)
    ]
    plan = laprox.evict(layers, "snapkv", 40)
    found = lt.evict(model, prefilled.cache, prefilled.queries, "snapkv", 40).plan
    assert np.array_equal(found.kept, plan.kept) and np.array_equal(found.offsets, plan.offsets)


def test_a_sound_cache_passes_the_check(model):
    model.set_attn_implementation("sdpa")
    assert laprox.check_cache(model).holds
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation(lt.ATTENTION)


BROKEN = {
    "positions that count the kept entries": lambda layer: setattr(layer, "seen", len(layer.keys[0])),
    "keys out of order": lambda layer: layer.keys.__setitem__(1, layer.keys[1].flip(0)),
    "a missing entry": lambda layer: (
        layer.keys.__setitem__(0, layer.keys[0][1:]),
        layer.values.__setitem__(0, layer.values[0][1:]),
    ),
    "heads exchanged": lambda layer: (layer.keys.reverse(), layer.values.reverse()),
    "NaN": lambda layer: layer.values[0].fill_(torch.nan),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_cache_fails_the_check(fault, model):
    def broken(cache, plan):
        evicted = lt.EvictedCache(cache, plan)
        for layer in evicted.layers:
            BROKEN[fault](layer)
        return evicted

    check = laprox.check_cache(model, broken)
    assert not check.holds and str(check).startswith("broken: ")


def test_a_dump_holds_what_the_model_computes(model, ids, tmp_path):
    sample = laprox.capture(model, tokens(ids), "text", tmp_path / "dump", window=16, future=8, layers=[0, 2])[0]
    assert (sample.context, sample.window, sample.future) == (112, 16, 8)
    assert sample.tokens_sha256 == hashlib.sha256(ids[0, :112].numpy().astype("<u4").tobytes()).hexdigest()
    assert laprox.evict(sample, budget=40).tokens_sha256 == sample.tokens_sha256
    prefilled = lt.prefill(model, ids[:, :112], window=16)
    layers = lt.layers_of(model, prefilled.cache, prefilled.queries)
    for captured, layer in zip(sample.layers(), [layers[0], layers[2]]):
        assert captured["layer"] == layer["layer"] and captured["scale"] == pytest.approx(layer["scale"])
        for key in ("q", "k", "v", "o_proj"):
            rows = slice(None) if key in ("q", "o_proj") else slice(112)
            assert np.allclose(captured[key][:, rows], layer[key].detach().numpy(), rtol=0, atol=1e-4)
    assert laprox.error(sample, laprox.evict(sample, budget=40)).future is not None


def tokens(ids):
    """A tokenizer whose text is these tokens."""
    return lambda text, return_tensors: transformers.BatchEncoding({"input_ids": ids})


BAD = {
    "two prompts": lambda model, ids: lt.prefill(model, ids.repeat(2, 1)),
    "less than a window": lambda model, ids: lt.prefill(model, ids[:, :8]),
    "no batch": lambda model, ids: lt.prefill(model, ids[0]),
    "an empty cache": lambda model, ids: lt.evict(model, transformers.DynamicCache(), [], "laprox"),
    "no such folder": lambda model, ids: laprox.capture(model, tokens(ids), "text", "/no/folder/dump"),
    "a short text": lambda model, ids: laprox.capture(model, tokens(ids), "text", "d", context=500),
    "no such layer": lambda model, ids: laprox.capture(model, tokens(ids), "text", "d", layers=[7]),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD)
def test_bad_input_is_one_line(call, model, ids):
    with pytest.raises((ValueError, FileNotFoundError)) as refusal:
        call(model, ids)
    assert "\n" not in str(refusal.value)


def test_a_sliding_window_is_refused(ids):
    config = transformers.MistralConfig(
        vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=2, sliding_window=64,
    )  # fmt: skip
    model = transformers.MistralForCausalLM(config)
    with pytest.raises(ValueError, match="sliding window"):
        lt.prefill(model, ids)
