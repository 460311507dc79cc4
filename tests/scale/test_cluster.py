"""What is told before Ray is asked for anything."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import InputError
from pipeline.scale.crew import Ended, Lent
from pipeline.scale.ray import cluster
from tests.support import rays

if TYPE_CHECKING:
    from pipeline.runner.stop import Stop
    from pipeline.scale.crew import MakesDecoders


async def idle(lent: Lent, stop: Stop, decoders: MakesDecoders, /) -> Ended:
    raise AssertionError


@pytest.mark.skipif(not rays.is_installed(), reason=rays.MISSING)
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_an_address_where_nobody_listens_is_told_at_once() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match="No Ray cluster could be reached"), cluster(address, idle, Lent({})):
            raise AssertionError


@pytest.mark.skipif(rays.is_installed(), reason="Ray is installed")
def test_without_ray_it_is_told_how_to_install_it() -> None:
    with pytest.raises(InputError, match=r"clipmill\[ray\]"), cluster(None, idle, Lent({})):
        raise AssertionError


def test_keys_do_not_go_through_rays_proxy() -> None:
    with pytest.raises(InputError, match="--address auto"), cluster("ray://127.0.0.1:10001", idle, Lent({})):
        raise AssertionError
