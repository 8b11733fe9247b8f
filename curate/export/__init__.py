"""Export: canonical rows to a Hugging Face dataset, or to the files a trainer reads."""

from curate.export.card import CardFacts
from curate.export.catalogue import FORMS
from curate.export.dataset import export_dataset
from curate.export.forms import Form
from curate.export.records import ExportSummary, Tally
from curate.export.survey import Again
from curate.export.trainer_files import Layout, write_form
from curate.export.versions import Versions

__all__ = [
    "FORMS",
    "Again",
    "CardFacts",
    "ExportSummary",
    "Form",
    "Layout",
    "Tally",
    "Versions",
    "export_dataset",
    "write_form",
]
