from pipeline.manifest.model import Limits, ProviderSettings
from pipeline.planning.limits import effective_limits
from pipeline.providers.base import DefaultLimits
from tests.planning.fakes import manifest_of

DOCUMENTED = DefaultLimits(submits_per_minute=40, looks_per_minute=120)


def test_the_documented_limits_hold_where_the_manifest_is_silent(tmp_path):
    limits = effective_limits(manifest_of(tmp_path), "venice", DOCUMENTED)
    assert (limits.in_flight, limits.submits_per_minute, limits.looks_per_minute) == (None, 40, 120)
    assert (limits.concurrent_billing, limits.concurrent_downloads) == (2, 8)


def test_the_manifest_wins_and_a_providers_own_win_over_it(tmp_path):
    manifest = manifest_of(
        tmp_path,
        limits=Limits(in_flight=100, submits_per_minute=30, concurrent_billing=3),
        providers={"venice": ProviderSettings(limits=Limits(in_flight=40, concurrent_billing=1))},
    )
    venice = effective_limits(manifest, "venice", DOCUMENTED)
    assert (venice.in_flight, venice.submits_per_minute, venice.looks_per_minute) == (40, 30, 120)
    assert venice.concurrent_billing == 1
    modelmax = effective_limits(manifest, "modelmax", DefaultLimits())
    assert (modelmax.in_flight, modelmax.submits_per_minute, modelmax.looks_per_minute) == (100, 30, None)
    assert modelmax.concurrent_billing == 3
