"""Are the verdicts right? Zoos with known truth, judged as any zoo is.

Every simulated zoo is factorial with repeats. Its accuracy is a design part plus luck that the
design does not know. Measures: noise (null), functions of the design with next to no noise of
their own (proxies), copies of the parameter count, measures that know a share of the luck, and one
whose partial τ beyond the design is the smallest that "not beyond hyperparameters" may deny. A
ranker is fitted on part of every twentieth zoo, and its intervals are held against the rest.

Run: python benchmarks/simulations.py [--json] [--zoos N] [--repeats N] [--luck-share S] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import pandas as pd

from audit.correlation import correlate
from audit.ranking import GeneralizationRanker, kendall_scorer
from audit.statistics.power import PARTIAL_TAU

N_NULL = 5
SHARES = (0.25, 0.5, 0.75)
INJECTED = "adds a partial τ of 0.3 to the design"


def zoo(rng: np.random.Generator, repeats: int, luck_share: float = 0.5) -> pd.DataFrame:
    """A 3 × 3 × 2 × 2 zoo with repeats; `luck_share` of the accuracy's variance is luck."""
    grid = [(a, b, c, d) for a in range(3) for b in range(3) for c in range(2) for d in range(2)]
    table = pd.DataFrame(grid * repeats, columns=["hp.width", "hp.decay", "hp.batch", "hp.aug"])
    n = len(table)
    effects = [rng.normal(size=table[axis].nunique())[table[axis]] for axis in table]
    design = np.sum(effects, axis=0)
    design = (design - design.mean()) / design.std()
    luck = rng.normal(size=n)
    quality = np.sqrt(1 - luck_share) * design + np.sqrt(luck_share) * luck
    table["parameters"] = 1e5 * 2.0 ** table["hp.width"]
    table["train_accuracy"] = np.clip(0.98 + 0.005 * rng.normal(size=n), 0, 1)
    table["held_out_accuracy"] = 0.75 + 0.03 * quality
    for k in range(N_NULL):
        table[f"null {k}"] = rng.normal(size=n)
    table["proxy of the accuracy's design part"] = design + 0.02 * rng.normal(size=n)
    table["proxy of one axis"] = table["hp.decay"] + 0.02 * rng.normal(size=n)
    table["copy of the parameter count"] = table["hp.width"] + 0.02 * rng.normal(size=n)
    for share in SHARES:
        own = np.sqrt(1 - share) * rng.normal(size=n)
        table[f"knows {share:.0%} of the luck"] = design + np.sqrt(share) * luck + own
    r = np.sin(np.pi * PARTIAL_TAU / 2)
    knows = r * luck + np.sqrt(1 - r * r) * rng.normal(size=n)
    table[INJECTED] = np.sqrt(1 - luck_share) * design + np.sqrt(luck_share) * knows
    return table


def judge(n_zoos: int, repeats: int, seed: int, luck_share: float = 0.5) -> pd.DataFrame:
    """Verdict and interval of every measure of every zoo."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n_zoos):
        result = correlate(
            zoo(rng, repeats, luck_share), n_bootstrap=200, n_permutations=1999, seed=seed + number
        )
        found.append(result.assign(zoo=number))
    return pd.concat(found, ignore_index=True)


def coverage(n_zoos: int, seed: int, families: bool) -> tuple[float, float]:
    """Share of new checkpoints inside 90% intervals, and the mean τ of their predictions."""
    inside, taus = [], []
    for number in range(n_zoos):
        rng = np.random.default_rng([seed, number])
        table = zoo(rng, 4)
        family = rng.integers(0, 8, len(table))
        if families:
            shift = 0.02 * rng.normal(size=8)[family]
            table["held_out_accuracy"] += shift
        X = table[[c for c in table if str(c).startswith(("null", "knows", "parameters"))]]
        y = table["held_out_accuracy"].to_numpy()
        known = family < 6 if families else rng.random(len(table)) < 0.75
        ranker = GeneralizationRanker(random_state=number)
        ranker.fit(X[known], y[known], family[known] if families else None)
        lower, upper = ranker.predict_interval(X[~known]).T
        inside += list((lower <= y[~known]) & (y[~known] <= upper))
        taus.append(kendall_scorer(ranker, X[~known], y[~known]))
    return float(np.mean(inside)), float(np.mean(taus))


def rates(found: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Share of each verdict, in its first words, per kind of measure."""
    kind = found["measure"].str.replace(r"null \d", "null", regex=True)
    verdict = found["verdict"].str.split(r" \(| and the |: ", n=1, regex=True).str[0]
    table = pd.crosstab(kind, verdict, normalize="index")
    return {str(k): {str(v): float(s) for v, s in row.items() if s} for k, row in table.iterrows()}


def called(found: pd.DataFrame, words: str) -> float:
    """Share of verdicts that begin with these words."""
    return float(found["verdict"].str.startswith(words).mean())


def main(arguments: list[str] | None = None) -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--zoos", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--luck-share", type=float, default=0.5, help="not explained by the grid")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found = judge(options.zoos, options.repeats, options.seed, options.luck_share)
    injected = found[found["measure"] == INJECTED]
    proxies = found[found["measure"].str.startswith("proxy of the")]
    null = found[found["measure"].str.startswith("null")]
    adds = null["verdict"].str.startswith("adds information")
    quiet = null["verdict"] == "no evidence of association"
    covered = (null["kendall_lower"] <= 0) & (null["kendall_upper"] >= 0)
    informative = adds.groupby(null["zoo"]).any()
    associated = (~quiet).groupby(null["zoo"]).any()
    same, same_tau = coverage(max(1, options.zoos // 20), options.seed, families=False)
    new, new_tau = coverage(max(1, options.zoos // 20), options.seed, families=True)
    report = {
        "zoos": options.zoos,
        "models_per_zoo": int(found["n_models"].max()),
        "verdicts": rates(found),
        "null: called informative, per measure": float(adds.mean()),
        "null: any of five called informative, per zoo": float(informative.mean()),
        "null: p below 0.05 before correction": float((null["kendall_p"] < 0.05).mean()),
        "null: any of five associated, per zoo": float(associated.mean()),
        "null: interval of τ holds 0": float(covered.mean()),
        "proxy of the design: called informative": called(proxies, "adds information"),
        "partial τ of 0.3: power as stated, mean": float(
            injected["beyond_hyperparameters_power"].mean()
        ),
        "partial τ of 0.3: found beyond the design": float(
            (injected["beyond_hyperparameters_p_holm"] < 0.05).mean()
        ),
        "partial τ of 0.3: wrongly 'not beyond'": called(injected, "not beyond"),
        "ranker: 90% intervals hold new checkpoints": same,
        "ranker: τ on new checkpoints": same_tau,
        "ranker: 90% intervals hold checkpoints of new families": new,
        "ranker: τ on checkpoints of new families": new_tau,
    }
    if options.json:
        json.dump(report, sys.stdout, indent=2, ensure_ascii=False)
        print()
        return
    for name, value in report.items():
        if not isinstance(value, dict):
            print(f"{name:50} {value:.4g}")
    for kind, shares in rates(found).items():
        print(kind)
        for verdict, share in sorted(shares.items(), key=lambda item: -item[1]):
            print(f"    {share:6.1%}  {verdict}")


if __name__ == "__main__":
    main()
