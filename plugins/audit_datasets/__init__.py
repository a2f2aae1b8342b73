"""Built-in datasets: scikit-learn's digits, and folders of images."""

from __future__ import annotations

from audit.plugin import DatasetEntry, hookimpl
from audit_datasets import digits, image_folder


@hookimpl
def genaudit_datasets() -> list[DatasetEntry]:
    """The datasets that come with genaudit."""
    return [
        DatasetEntry(
            name="digits",
            summary="scikit-learn's 1,797 scans of handwritten digits, 8 × 8, no download",
            version="1",
            open=digits.open_split,
            options=digits.OPTIONS,
        ),
        DatasetEntry(
            name="image_folder",
            summary="a folder with one folder of images per class",
            version="1",
            open=image_folder.open_split,
            options=image_folder.OPTIONS,
            locations=image_folder.LOCATIONS,
        ),
    ]
