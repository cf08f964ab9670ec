"""Where a lake lies: a folder, or a prefix in object storage (`s3://bucket/prefix`).

Both are used through the methods of `pathlib.Path`. What differs between them is here, and in `commit` how a file gets
its name: a bucket has no names that a file could get later, an object is there as a whole or not at all.
"""

from __future__ import annotations

import os
import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from groundlake.errors import CorruptLakeError, LakeEnvironmentError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

_URL = re.compile(r"^(?P<scheme>[a-z][a-z0-9+.-]*):/+", re.IGNORECASE)

HOW_TO_REACH = (
    "AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws, say how to "
    "reach it"
)


def place_of(root: str | Path) -> Path:
    """Return the folder or the prefix that a text names; nothing is looked up.

    Raises:
        UsageError: It cannot be the root of a lake.
        MissingDependencyError: It is in object storage, and what reads that is not installed.
    """
    if is_remote(root):
        return cast("Path", root)
    if not str(root).strip():
        raise UsageError("the address of the lake is empty; name a folder, as in ./lake, or s3://bucket/prefix")
    url = _URL.match(str(root))
    if url:
        return _prefix(url["scheme"].lower(), str(root)[url.end() :])
    place = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow a link that may move later
    if "\\" in str(place):
        raise UsageError(f"{place}: DuckDB takes a backslash in a path for a separator; choose another --root")
    return place


def _prefix(scheme: str, name: str) -> Path:
    bucket, _, prefix = name.strip("/").partition("/")
    if scheme == "ssh":
        raise UsageError(f"ssh://{name}: `lake sync` and `lake ingest --from` read a lake there; others need it here")
    if scheme != "s3" or not bucket or not prefix:
        raise UsageError(f"{scheme}://{name}: a lake lies in a folder, or below a prefix: s3://bucket/prefix")
    if re.search(r"[*?\[\]\\]|//", name):
        raise UsageError(f"{scheme}://{name}: a prefix has none of * ? [ ] \\ and no empty parts; choose another")
    try:
        from upath import UPath
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"s3://{name}: object storage cannot be read (the module {error.name} is missing)\n"
            "install what reads it with: pip install 'groundlake[s3]'"
        ) from error
    _refuse_bad_endpoint()
    # Listings are never kept: another writer may have added to them.
    return cast("Path", UPath(f"s3://{bucket}/{prefix}", use_listings_cache=False))


def _refuse_bad_endpoint() -> None:
    """Raise where the address of the object storage, as botocore finds it in the environment, is none."""
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        address = os.environ.get(variable, "")
        if address and not re.match(r"https?://[^/\s]+", address):
            raise LakeEnvironmentError(
                f"{variable}={address}: no address of object storage; give one as http://127.0.0.1:9000, or unset it"
            )


def is_remote(place: object) -> bool:
    """Whether a place is in object storage."""
    return not isinstance(place, (str, Path))


def require_folder(place: Path, what: str) -> None:
    """Refuse a place in object storage for something that works on files.

    Raises:
        UsageError: It is in object storage.
    """
    if is_remote(place):
        raise UsageError(
            f"{place}: {what} in a folder only; `lake sync {shlex.quote(str(place))} FOLDER` brings it here, and back"
        )


def refuse_link(path: Path) -> None:
    """Raise where a path in a lake is a link: it may lead anywhere, and what lies there is not the lake's.

    Raises:
        CorruptLakeError: It is one.
    """
    if not is_remote(path) and os.path.islink(path):  # noqa: PTH114 - on the way of every look-up, where it takes half the time
        raise CorruptLakeError(
            f"{path}: a link, which is not followed: a lake ends at its folder\n"
            "put the file or folder itself there, or remove the link; `lake check` lists every such link"
        )


def refuse_unreadable(folder: str | Path, levels: int) -> None:
    """Raise where a folder, or one of so many levels below it, may not be listed: DuckDB would leave it out.

    That takes some microseconds for each folder, a small part of what DuckDB takes to list the files in it.

    Raises:
        LakeEnvironmentError: One may not be read.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        if not os.path.lexists(folder):
            return
        raise LakeEnvironmentError(
            f"{folder}: your user has no permission to read this folder, and an answer would lack its rows\n"
            "let your user read it: `chmod u+rx` as its owner, or `chmod a+rx` as root"
        )
    if levels:
        with os.scandir(folder) as entries:
            inner = [entry.path for entry in entries if "=" in entry.name and entry.is_dir(follow_symlinks=False)]
        for each in inner:
            refuse_unreadable(each, levels - 1)


def names_in(folder: Path) -> list[str]:
    """Names of what lies in a folder, in no order; none where it is not there."""
    try:
        if is_remote(folder):
            return [path.name for path in folder.iterdir()]
        return os.listdir(folder)  # noqa: PTH208 - a tenth of the time of iterdir, in each look-up
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_below(folder: Path) -> list[Path]:
    """Every file below a prefix in object storage: a request for each thousand, not one for each folder."""
    remote = cast("Any", folder)
    return [folder / path[len(remote.path) :].lstrip("/") for path in remote.fs.find(remote.path)]


def polars_sources(paths: Sequence[Path]) -> tuple[list[Path] | list[str], dict[str, Any]]:
    """Name files for polars, with the arguments it needs to reach them."""
    if not paths or not is_remote(paths[0]):
        return list(paths), {}
    return [str(path) for path in paths], _reached_by_polars()


@cache
def _reached_by_polars() -> dict[str, Any]:
    """Say to polars, which has a client of its own, what botocore found out: where, and as whom."""
    from botocore.session import get_session

    session = get_session()
    client = session.create_client("s3")
    endpoint = str(client.meta.endpoint_url)
    options = {"aws_region": str(client.meta.region_name)}
    if "amazonaws.com" not in endpoint:
        options |= {"aws_endpoint_url": endpoint, "aws_virtual_hosted_style_request": "false"}
    if endpoint.startswith("http:"):
        options["aws_allow_http"] = "true"

    def credentials() -> tuple[dict[str, str | None], int | None]:
        found = session.get_credentials()
        if found is None:
            raise LakeEnvironmentError(f"no credentials for object storage\n{HOW_TO_REACH}")
        frozen = found.get_frozen_credentials()
        keys = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
        return (keys | {"aws_session_token": frozen.token} if frozen.token else keys), None

    return {"storage_options": options, "credential_provider": credentials}


def let_read(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Let a connection of DuckDB read a lake in object storage; a folder it reads by itself."""
    if is_remote(root):
        from groundlake.bucket_files import BucketFiles

        connection.register_filesystem(BucketFiles(cast("Any", root).fs))


def reachable(root: Path) -> bool:
    """Whether anything is there.

    Raises:
        LakeEnvironmentError: Object storage does not answer, or refuses.
    """
    if not is_remote(root):
        return root.is_dir()
    from botocore.exceptions import BotoCoreError

    remote = cast("Any", root)
    bucket = str(remote.path).partition("/")[0]
    try:
        if root.is_dir():
            return True
        remote.fs.ls(bucket, refresh=True)
    except FileNotFoundError as error:
        raise LakeEnvironmentError(
            f"{root} cannot be reached: there is no bucket {bucket}\nmake it first, or correct its name"
        ) from error
    except (OSError, BotoCoreError) as error:
        raise LakeEnvironmentError(f"{root} cannot be reached: {error}\n{HOW_TO_REACH}") from error
    return False
