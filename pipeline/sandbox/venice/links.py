"""The host of Venice's download links: no key, a life of a day, and not too many downloads of the same clip.

Source: Venice video-generation guide, "download_url"; Venice OpenAPI, /video/queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from pipeline.sandbox.desk import Refused
from pipeline.sandbox.settings import Fault, Provider
from pipeline.sandbox.state import CountKind, Ending

if TYPE_CHECKING:
    from yarl import URL

    from pipeline.sandbox.desk import Desk


def link_error(status: int, code: str) -> web.Response:
    """Return an error as a file store says it."""
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")


def media_origin(request: web.Request) -> URL:
    """Return the origin of the clips: this machine by its other name than the API was called by.

    The vendor keeps them on a host of their own, where no client has reason to send the key; under the API's own origin
    a good client would send it along.
    """
    return request.url.origin().with_host("127.0.0.1" if request.url.host == "localhost" else "localhost")


class Links:
    """The emulated file host."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, named by endpoint."""
        return [
            web.get("/private-share/{token}", self.download, name="venice-download", allow_head=False),
            web.delete("/private-share/{token}", self.free, name="venice-free"),
        ]

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Send the clip behind a link. Wants no key: a request that brings one has leaked it, and is noted."""
        desk = self._desk
        job = desk.state.tokens.get(request.match_info["token"])
        if "Authorization" in request.headers:
            desk.state.count(CountKind.EVENT, "leak")
            return link_error(403, "SignatureDoesNotMatch")
        if job is None or job.provider is not Provider.VENICE or job.deleted:
            return link_error(404, "NoSuchKey")
        nth = desk.state.count(CountKind.JOB, job.id, "download")
        aged = desk.now_s() >= job.accepted_s + desk.settings.venice_link_lifetime_s
        if aged or desk.strikes(Fault.EXPIRED_LINK, job.occasion):
            return link_error(410, "Expired")
        if desk.now_s() < job.ends_s or job.ending is not Ending.COMPLETED:
            return link_error(404, "NoSuchKey")
        if nth > desk.settings.venice_link_downloads:
            return link_error(429, "TooManyRequests")
        try:
            desk.disturb(request, "download", job.occasion, nth)
        except Refused as refused:
            return link_error(refused.status, "ServiceUnavailable")
        return await desk.send_clip(request, job, 0, nth)

    async def free(self, request: web.Request) -> web.StreamResponse:
        """Delete the clip behind a link."""
        job = self._desk.state.tokens.get(request.match_info["token"])
        if job is None or job.provider is not Provider.VENICE or job.deleted:
            return link_error(404, "NoSuchKey")
        self._desk.state.delete_media(job)
        return web.Response(status=204)
