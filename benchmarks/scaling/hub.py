"""What would it take to audit all image classifiers on a hub? Arithmetic on what was measured.

Everything here is multiplication; every factor is measured, kept in `benchmarks/results/`, or an
assumption with its source beside it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.scaling.cost import RESULTS, Network, births_seconds, seconds_per_map

#: Models whose task was image-classification, of all that had any entry, on 30 September 2022:
#: counted in data/model_info.parquet of github.com/Weixin-Liang/AI-model-card-analysis-HuggingFace
#: (Liang et al., "Systematic analysis of 32,111 AI model cards characterizes documentation practice
#: in AI", Nature Machine Intelligence 2024). 26,296 of them named no task.
CLASSIFIERS_2022: Final = 913
MODELS_2022: Final = 74_970
MODELS_WITH_TASK_2022: Final = 48_674
#: All models in August 2025: Laufer, Oderinwale, Kleinberg, arXiv 2508.06811.
MODELS_2025: Final = 1_860_000
#: Growth since then is not known to us; twice as many is taken for the upper end.
GROWTH: Final = 2.0

#: Share of checkpoints by architecture. An assumption: most classifiers on the hub that say what
#: they are were fine-tuned from ViT-B/16, whose weights have 343 MB.
MIX: Final[Mapping[str, float]] = {
    "vit_base_patch16_224": 0.60,
    "resnet50": 0.20,
    "mobilenetv3_small_100": 0.10,
    "vit_large_patch16_224": 0.10,
}
#: Images looked at, and classes: the defaults of `[measures]`, 100 images of each of 20 classes.
IMAGES: Final = 2_000
#: Bytes of a training image: those of ILSVRC2012_img_train.tar over its 1,281,167 images.
IMAGE_BYTES: Final = 147_897_477_120 / 1_281_167
#: Requests to the hub for a checkpoint: HEAD and GET of its configuration and of its weights.
HUB_REQUESTS: Final = 4
#: An entry of the store holds births up to this size; see `audit.measuring._births`.
PART_BYTES: Final = 8 << 20
#: Bytes of a birth and its flags in memory, by which entries are filled.
BIRTH_BYTES: Final = 3


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the arithmetic takes from measurements.

    Attributes:
        coefficients: Of the cost model, by name of its terms.
        passes: Forward passes over the sample that the default measures take.
        gmacs_per_second: Of float32 forwards on the device, by ResNet-50.
        host_image_seconds: Decoding an image, entropy and store, on the host.
        store_fixed: Bytes of the store for each audit.
        store_per_map: Bytes for each feature map.
        reads: Of the store, for each cold audit, what it has being listed once.
        writes: To the store, for each cold audit.
        cpu_maps: Filtration → side → seconds of a map on a processor.
        cuda_maps: The same on the device.
    """

    coefficients: Mapping[str, float]
    passes: float
    gmacs_per_second: float
    host_image_seconds: float
    store_fixed: float
    store_per_map: float
    reads: float
    writes: float
    cpu_maps: Mapping[str, Mapping[float, float]]
    cuda_maps: Mapping[str, Mapping[float, float]]

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Measured:
        """From the kept answers to `cost` and `simulation`, and older results."""
        cost, load = kept["cost"], kept["simulation"]["loads"]["one listing"]
        resnet = next(one for one in cost["hub_networks"] if one["name"] == "resnet50")
        end_to_end = newest_result("end-to-end-????-??-??.json")
        medians, n_images = end_to_end["medians"], end_to_end["images"]
        on_host = medians["decode"] + medians["entropy"] + medians["store"]
        return cls(
            coefficients=cost["coefficients"],
            passes=cost["passes"],
            gmacs_per_second=resnet["gmacs"] * _forwards_per_second(),
            host_image_seconds=on_host / n_images,
            store_fixed=cost["store"]["fixed"],
            store_per_map=cost["store"]["per_map"],
            reads=load["reads"],
            writes=load["writes"],
            cpu_maps=seconds_per_map("cpu"),
            cuda_maps=seconds_per_map("cuda"),
        )


def newest_result(pattern: str) -> dict[str, Any]:
    """The last kept result of a benchmark."""
    found: dict[str, Any] = json.loads(max(RESULTS.glob(pattern)).read_text("utf-8"))
    return found


def _forwards_per_second() -> float:
    """ResNet-50 forwards a second in whole float32 on the device that was measured."""
    rows = newest_result("topology-cuda-????-??-??.json")["resnet50"]
    return float(next(r["images_per_second"] for r in rows if r["precision"] == "float32"))


@dataclasses.dataclass(frozen=True)
class Bill:
    """What one checkpoint takes.

    Attributes:
        device_seconds: That a GPU computes.
        host_seconds: That a processor computes beside it.
        cpu_seconds: Of a processor's thread where there is no GPU.
        download_bytes: Weights.
        data_bytes: Training images, if no other checkpoint has the same.
        store_bytes: That stay in the store.
        requests: To store and hub.
    """

    device_seconds: float
    host_seconds: float
    cpu_seconds: float
    download_bytes: float
    data_bytes: float
    store_bytes: float
    requests: float

    @property
    def held_seconds(self) -> float:
        """That a GPU is held where nothing else runs on it meanwhile."""
        return self.device_seconds + self.host_seconds


def bill(network: Network, measured: Measured, images: int = IMAGES) -> Bill:
    """One checkpoint of an architecture.

    Args:
        network: Its sizes.
        measured: What was measured.
        images: That are looked at.
    """
    c, forwards = measured.coefficients, images * measured.passes
    births = images * births_seconds(network, measured.cpu_maps)
    maps = images * network.maps
    weights = c["fixed"] + c["mparameters"] * network.mparameters
    parts = max(1, math.ceil(maps * BIRTH_BYTES / PART_BYTES))
    return Bill(
        device_seconds=forwards * network.gmacs / measured.gmacs_per_second
        + images * births_seconds(network, measured.cuda_maps),
        host_seconds=weights
        + max(0.0, c["maps"] - 1) * births
        + images * measured.host_image_seconds,
        cpu_seconds=weights
        + forwards * (c["gmacs"] * network.gmacs + c["moutputs"] * network.moutputs)
        + c["maps"] * births,
        download_bytes=4e6 * network.mparameters,
        data_bytes=images * IMAGE_BYTES,
        store_bytes=measured.store_fixed + measured.store_per_map * maps,
        requests=measured.reads + measured.writes + 2 * (parts - 1) + HUB_REQUESTS,
    )


def mixed(bills: Mapping[str, Bill], mix: Mapping[str, float] = MIX) -> Bill:
    """The mean checkpoint of a mix.

    Args:
        bills: Architecture → its bill.
        mix: Architecture → share; they sum to 1.
    """
    names = [field.name for field in dataclasses.fields(Bill)]
    return Bill(
        **{name: sum(s * getattr(bills[model], name) for model, s in mix.items()) for name in names}
    )


def numbers_of_models() -> dict[str, int]:
    """How many image classifiers a hub may have, and why."""
    share = CLASSIFIERS_2022 / MODELS_2022
    high = CLASSIFIERS_2022 / MODELS_WITH_TASK_2022
    return {
        "counted, September 2022": CLASSIFIERS_2022,
        "estimate, August 2025": round(share * MODELS_2025),
        "upper end": round(high * MODELS_2025 * GROWTH),
        "a million": 1_000_000,
    }


def bills_of(kept: Mapping[str, Any], images: int = IMAGES) -> dict[str, Bill]:
    """Architecture of the mix → its bill."""
    measured = Measured.of(kept)
    networks = {one["name"]: Network.of(one) for one in kept["cost"]["hub_networks"]}
    return {name: bill(networks[name], measured, images) for name in MIX}
