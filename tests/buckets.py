"""A store that speaks S3, on this machine, for tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

KEY, SECRET = "KANARIENSCHLUESSEL", "KANARIENGEHEIMNIS"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server, with credentials in the environment."""
    pytest.importorskip("s3fs", reason="requirements-cluster.txt is not installed")
    server = pytest.importorskip("moto.server", reason="requirements-dev.txt is not installed")
    threaded = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    host, port = threaded.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        yield f"http://{host}:{port}"
    threaded.stop()


@pytest.fixture
def bucket(s3: str) -> Iterator[str]:
    """An empty bucket, as a URL."""
    import fsspec

    url = f"s3://films-{uuid.uuid4().hex[:12]}"
    system = fsspec.url_to_fs(url)[0]
    system.call_s3("create_bucket", Bucket=url[5:])
    yield url
    system.clear_instance_cache()


def sent(folder: Path, url: str) -> None:
    """Put a folder's files onto a store."""
    import fsspec

    system, root = fsspec.url_to_fs(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            system.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def fetched(url: str) -> dict[str, bytes]:
    """Every file below a place on a store."""
    from xray_core.remote import RemoteOut

    target = RemoteOut(url)
    return {name: target.read(PurePath(name)) for name, _ in target.sizes()}
