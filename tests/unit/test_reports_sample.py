"""A made-up audit that looks like a real one: a factorial zoo, and most of what can go wrong."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from audit.plugin import AuditResult

DEPTHS = {"test_convnext": 4, "test_resnet": 5, "test_vit": 3}
BASELINES = {
    "parameters": "none",
    "macs": "none",
    "train_accuracy": "higher",
    "train_loss": "lower",
    "mean_confidence": "higher",
    "margin_p10": "higher",
    "augmentation_consistency": "higher",
    "random": "none",
}
MEASURES = {
    "feature_entropy.clique": "lower",
    "feature_entropy.cubical": "lower",
    "effective_rate.clique": "none",
    "effective_rate.cubical": "none",
    "unit_counts.clique": "none",
    "unit_counts.cubical": "none",
    "birth_class_information.clique": "higher",
    "attention_entropy": "none",
    "path_norm": "lower",
    "parameter_norm": "lower",
    "spectral_product": "lower",
    "sharpness": "lower",
    "distance_from_init": "lower",
}
#: What measures declare beside direction and summary: see `audit.plugin.MeasureEntry`.
LAYERS = {"name": "layer_*", "summary": "each layer, from shallow to deep", "by_depth": True}
DECLARED = {
    "feature_entropy": {"unit": "nats", "order": 1, "parts": [LAYERS]},
    "effective_rate": {"unit": "share of images", "order": 2, "parts": [LAYERS]},
    "unit_counts": {
        "diagnostic": True,
        "parts": [{"name": name, "summary": f"{name} units"}
                  for name in ("dead", "constant", "never_born")],
    },
    "parameters": {"control": True, "called": "parameter count", "cost": "weights"},
    "macs": {"control": True, "called": "MACs"},
}  # fmt: skip


def declared(name):
    """What the run record says of a measure beside direction and summary."""
    part = {"direction": "none", "judged": False, "by_depth": False}
    said = {"unit": "", "order": 100, "control": False, "called": "", "diagnostic": False}
    said |= {"cost": "forward", "parts": []} | DECLARED.get(name.split(".")[0], {})
    return said | {"parts": [part | each for each in said["parts"]]}


def sample_audit(n_checkpoints=48, n_measures=0, held_out=True, seed=0):
    """An audit of three architectures over a grid of recipes.

    Args:
        n_checkpoints: In the zoo; one more fails.
        n_measures: Further measure columns, "extra.part_1"….
        held_out: Whether held-out accuracies are known.
        seed: Of everything made up.
    """
    rng = np.random.default_rng(seed)
    zoo = _zoo(n_checkpoints, rng)
    wide = _wide(zoo, n_measures, rng)
    measures = _tidy(wide)
    accuracy = zoo[["checkpoint", "held_out_accuracy", "family", *_axes(zoo)]]
    return AuditResult(
        measures=measures,
        ranking=_ranking(zoo, rng),
        correlations=_correlations(wide, zoo, rng) if held_out else pd.DataFrame(),
        held_out=accuracy if held_out else pd.DataFrame(),
        run=_run(zoo, wide, held_out),
        output=Path("out"),
    )


def empty_audit(run=None):
    """An audit in which nothing came out, with no column that is not needed."""
    empty = pd.DataFrame
    return AuditResult(
        measures=empty(), ranking=empty(), correlations=empty(), held_out=empty(),
        run=run or {}, output=Path("out"),
    )  # fmt: skip


def _axes(zoo):
    return [column for column in zoo.columns if column.startswith("hp.")]


def _zoo(n, rng):
    grid = itertools.cycle(
        itertools.product(DEPTHS, (0.0, 0.25, 0.5, 0.75), (False, True), (0.0, 5e-4))
    )
    zoo = pd.DataFrame(
        [next(grid) for _ in range(n)],
        columns=["family", "hp.label_noise", "hp.augmentation", "hp.weight_decay"],
    )
    zoo["hp.batch_size"] = np.where(np.arange(n) % 2, 32, 128)
    arch = zoo["family"].map({"test_convnext": 0.0, "test_resnet": 0.03, "test_vit": -0.05})
    zoo["held_out_accuracy"] = (
        0.94 + arch - 0.45 * zoo["hp.label_noise"] ** 1.5 + 0.03 * zoo["hp.augmentation"]
        + rng.normal(0, 0.015, n)
    ).clip(0.1, 0.995).round(4)  # fmt: skip
    zoo["checkpoint"] = [
        f"{row.family}-noise{row[2]:g}-{'aug' if row[3] else 'plain'}-wd{row[4]:g}-{index:03d}"
        for index, row in enumerate(zoo.itertuples())
    ]
    return zoo


def _wide(zoo, n_measures, rng):
    n = len(zoo)
    truth = stats.zscore(zoo["held_out_accuracy"].to_numpy()) if n > 1 else np.zeros(n)
    size = zoo["family"].map(
        {"test_convnext": 271_530, "test_resnet": 462_190, "test_vit": 371_274}
    )
    follow = lambda weight: weight * truth + np.sqrt(1 - weight**2) * rng.normal(size=n)  # noqa: E731
    data = {
        "parameters": size, "macs": size * 37.0, "random": rng.uniform(size=n),
        "train_accuracy": (0.97 + 0.02 * follow(0.3)).clip(0, 1),
        "train_loss": np.exp(-2.5 - 0.4 * follow(0.4)),
        "mean_confidence": (0.93 + 0.03 * follow(0.2)).clip(0, 1),
        "margin_p10": 1.2 + 0.9 * follow(0.75),
        "augmentation_consistency": (0.8 + 0.1 * follow(0.8)).clip(0, 1),
        "path_norm": np.exp(21 - 1.5 * follow(0.5)), "parameter_norm": 38 - 4 * follow(0.1),
        "spectral_product": np.exp(9 + 2 * follow(0.35)), "sharpness": np.exp(-3 - follow(0.6)),
        "distance_from_init": np.full(n, np.nan),
        "attention_entropy": np.where(zoo["family"] == "test_vit", 2 + follow(0.1), np.nan),
    }  # fmt: skip
    depth = zoo["family"].map(DEPTHS).to_numpy()
    for kind, base in (("clique", 2.6), ("cubical", 3.1)):
        data[f"feature_entropy.{kind}"] = base - 0.12 * follow(0.65)
        data[f"effective_rate.{kind}"] = (0.9 - 0.05 * follow(0.2)).clip(0, 1)
        for layer in range(1, 6):
            there = depth >= layer
            fall = base + 0.6 - 0.35 * layer - 0.12 * follow(0.5)
            data[f"feature_entropy.{kind}.layer_{layer}"] = np.where(there, fall, np.nan)
            rate = (0.99 - 0.06 * layer - 0.03 * follow(0.2)).clip(0, 1)
            data[f"effective_rate.{kind}.layer_{layer}"] = np.where(there, rate, np.nan)
        for status in ("dead", "constant", "never_born"):
            data[f"unit_counts.{kind}.{status}"] = rng.poisson(3, n).astype(float)
    data["birth_class_information.clique"] = 0.4 + 0.1 * follow(0.55)
    for index in range(n_measures):
        data[f"extra.part_{index + 1}"] = follow(rng.uniform(-0.8, 0.8))
    return pd.DataFrame({"checkpoint": zoo["checkpoint"], **data})


def _tidy(wide):
    rows = wide.melt("checkpoint", var_name="measure", value_name="value")
    known = rows["value"].notna()
    no_layer = rows["measure"].str.contains("layer_") & ~known
    rows, known = rows[~no_layer], known[~no_layer]
    no_layer = rows["measure"] == "attention_entropy"
    reason = np.where(no_layer, "this architecture has no attention",
                      "the initial weights were not given; name them under `initial`")  # fmt: skip
    rows["version"] = "1"
    rows["status"] = np.where(known, "ok", np.where(no_layer, "undefined", "unavailable"))
    rows["reason"] = np.where(known, "", reason)
    rows["seconds"] = 0.01
    failed = {
        "checkpoint": "test_resnet-truncated", "measure": "all", "version": "", "value": np.nan,
        "status": "failed", "seconds": 0.0,
        "reason": "weights do not fit test_resnet: first missing key 'fc.weight'; give num_classes",
    }  # fmt: skip
    columns = ["checkpoint", "measure", "version", "value", "status", "reason", "seconds"]
    return pd.concat([rows, pd.DataFrame([failed])], ignore_index=True)[columns]


def _ranking(zoo, rng):
    score = zoo["held_out_accuracy"] + rng.normal(0, 0.02, len(zoo))
    table = pd.DataFrame({"checkpoint": zoo["checkpoint"], "score": score})
    table["lower"], table["upper"] = score - 0.035, score + 0.03
    table = table.sort_values("score", ascending=False, ignore_index=True)
    low, high, names = (table[c].to_numpy() for c in ("lower", "upper", "checkpoint"))
    ties = [
        ";".join(names[(low <= high[i]) & (high >= low[i]) & (names != names[i])][:200])
        for i in range(len(table))
    ]
    table["tied_with"] = ties
    table.insert(0, "predicted_rank", np.arange(1, len(table) + 1))
    return table


def _correlations(wide, zoo, rng):
    rows = []
    for measure in wide.columns[1:]:
        known = wide[measure].notna()
        n = int(known.sum())
        x, y = wide[measure][known], zoo["held_out_accuracy"][known]
        row = {"measure": measure, "target": "held_out_accuracy", "n_models": n}
        row |= {"direction": (BASELINES | MEASURES).get(measure, "none"), "undefined": ""}
        if n < 3 or x.nunique() < 2:
            row["undefined"] = f"needs 3 checkpoints with different numbers, found {n}"
            row["verdict"] = f"undefined: {row['undefined']}"
        else:
            tau = float(stats.kendalltau(x, y)[0])
            half = 2 * (1 - tau**2) / np.sqrt(n) * rng.uniform(0.9, 1.2)
            row |= {
                "kendall": tau, "kendall_lower": max(-1, tau - half),
                "kendall_upper": min(1, tau + half), "spearman": float(stats.spearmanr(x, y)[0]),
                "pearson": float(np.corrcoef(x, y)[0, 1]), "weighted_kendall": tau * 1.05,
                "verdict": _verdict(measure, tau, half),
            }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def _verdict(measure, tau, half):
    if measure == "sharpness":
        return "contradicts itself across environments (better along hp.label_noise)"
    if abs(tau) < half:
        return "no evidence of association"
    if measure in BASELINES:
        return "baseline: associated with the target"
    if abs(tau) < 0.5:
        return "not distinguishable from parameter count"
    return "adds information beyond the baselines and the hyperparameters"


def _run(zoo, wide, held_out):
    entries = []
    for row in zoo.itertuples():
        digest = hashlib.sha256(row.checkpoint.encode()).hexdigest()
        layers = [
            {"layer": f"stages.{k}.act", "height": 48 >> k, "width": 48 >> k, "units": 16 << k,
             "tied_rate": 0.002 * k} for k in range(DEPTHS[row.family])
        ]  # fmt: skip
        entries.append({
            "checkpoint": row.checkpoint, "model": row.family, "model_args": {"num_classes": 10},
            "weights": f"zoo/{row.checkpoint}.safetensors", "weights_digest": digest,
            "source": "timm 1.0.22",
            "data_config": {"input_size": [1, 48, 48], "mean": [0.5], "std": [0.5]},
            "layers": layers, "notes": [],
        })  # fmt: skip
    entry = {
        "version": "1", "invariance": "node-wise", "plugin": "measures",
        "source": "Zhao & Zhang 2022, equation 4; https://arxiv.org/abs/2103.09716",
    }  # fmt: skip
    measures = {
        name: entry
        | declared(name)
        | {"direction": way, "baseline": name in BASELINES, "summary": f"What {name} is"}
        for name, way in (BASELINES | MEASURES).items()
    }
    mode = {
        "mode": "fitted, cross-validated", "model": "ridge", "n_known": len(zoo),
        "score_is": "predicted held_out_accuracy, by a ranker that never saw the checkpoint",
        "measures": ["feature_entropy.clique", "margin_p10", "sharpness"], "confidence": 0.9,
        "left_out": "families", "coverage": 0.89, "kendall": 0.71, "kendall_lower": 0.6,
        "kendall_upper": 0.8, "notes": ["not ranked, no measure could be taken: none"],
    }  # fmt: skip
    unfitted = {
        "mode": "zero-shot by declared directions", "measures": ["feature_entropy.clique"],
        "score_is": "mean normalised rank in the declared directions, 1 = best", "notes": [],
    }  # fmt: skip
    return {
        "schema": 1, "genaudit": "0.1.0", "seed": 0, "device": "cpu", "dtype": "float32",
        "versions": {"genaudit": "0.1.0", "python": "3.11.9", "torch": "2.10.0", "timm": "1.0.22"},
        "commit": "8b0dbc7d5a3f4e2b1c0d9e8f7a6b5c4d3e2f1a0b",
        "config": {"dataset": {"name": "digits"}, "measures": {"include": ["default"]}},
        "dataset": {
            "name": "digits", "options": {"upsample": 48}, "class_names": list("0123456789"),
            "n_images": 1437, "n_sampled": 1000, "images_per_class": 100,
            "fingerprint": hashlib.sha256(b"digits").hexdigest(),
            "excluded": {"train/3/0017.png": "cannot be decoded: truncated file"},
        },
        "checkpoints": entries, "measures": measures, "ranking": mode if held_out else unfitted,
        "correlation": {
            "target": "held_out_accuracy", "n_models": len(zoo), "confidence": 0.95,
            "n_bootstrap": 2000, "resampled": f"{len(zoo)} models (3 families are too few)",
        },
    }  # fmt: skip


def test_sample_has_the_tables_of_an_audit():
    audit = sample_audit()
    assert len(audit.ranking) == 48
    assert list(audit.failed) == ["test_resnet-truncated"]
