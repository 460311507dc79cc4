"""What is told before Ray is asked for anything."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from pipeline.errors import InputError
from pipeline.scale.ray import connected
from tests.support import rays


@pytest.mark.skipif(not rays.is_installed(), reason=rays.MISSING)
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_an_address_where_nobody_listens_is_told_at_once() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match="No Ray cluster could be reached"), connected(address):
            raise AssertionError


@pytest.mark.skipif(rays.is_installed(), reason="Ray is installed")
def test_without_ray_it_is_told_how_to_install_it() -> None:
    with pytest.raises(InputError, match=r"clipmill\[ray\]"), connected(None):
        raise AssertionError


def test_keys_do_not_go_through_rays_proxy() -> None:
    with pytest.raises(InputError, match="--address auto"), connected("ray://127.0.0.1:10001"):
        raise AssertionError
