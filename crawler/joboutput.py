"""[output]: where results go, in which forms, and how safe they must be.

Decides what a job may say of its outputs. Must not read or write files. Invariant: every form is named once; what
has no effect beside what else is said is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from crawler.entry import Sync
from crawler.jobupload import Upload
from crawler.names import check_layout
from crawler.units import Duration, Size
from crawler.urls import printable

RecordForm = Literal["jsonl", "csv", "parquet"]
BodyForm = Literal["files", "warc", "tar", "inline"]

# What has no effect without one of the forms.
_OF = (
    ("layout", "files", "bodies"),
    ("keep_secrets", "warc", "bodies"),
    ("compress", "jsonl", "records"),
    ("part_rows", "parquet", "records"),
)


def _several(value: object) -> object:
    """One form may be written without brackets; "none" is none of them."""
    if isinstance(value, list | tuple) and len(value) == 1:
        (value,) = value
    return [] if value == "none" else [value] if isinstance(value, str) else value


class Output(BaseModel):
    """[output]: where results go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dir: str = Field("output", min_length=1)
    records: Annotated[tuple[RecordForm, ...], BeforeValidator(_several)] = ("jsonl",)
    compress: bool = False
    part_rows: int = Field(100_000, ge=1, le=10_000_000)
    bodies: Annotated[tuple[BodyForm, ...], BeforeValidator(_several)] = ("files",)
    layout: str = "hash"
    share: bool = True
    segment_size: Size = Field(1024**3, ge=1024)
    headers_in_record: bool = False
    keep_secrets: bool = False
    sync: Sync = Sync.COMMIT
    min_free: Size = Field(256 * 1024**2, ge=0)
    min_free_percent: float = Field(1.0, ge=0, le=90)
    wait_for_room: Duration = Field(30.0, ge=0)
    upload: Upload | None = None

    @field_validator("dir")
    @classmethod
    def _folder(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError(f"'{printable(value)}' cannot name a folder")
        return value

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, value: str) -> str:
        check_layout(value)
        return value

    @field_validator("records", "bodies")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for form in value:
            if value.count(form) > 1:
                raise ValueError(f"'{form}' stands there twice")
        return value

    @field_validator("records")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError('names no form; records are kept as "jsonl", "csv" or "parquet"')
        return value

    @model_validator(mode="after")
    def _has_effect(self) -> Output:
        for key, form, forms in _OF:
            if getattr(self, key) != type(self).model_fields[key].default and form not in getattr(self, forms):
                raise ValueError(f'{key} is of {forms} = "{form}", which is not asked for')
        return self

    @property
    def keeps_bodies(self) -> bool:
        """Are bodies kept in any form."""
        return bool(self.bodies)
