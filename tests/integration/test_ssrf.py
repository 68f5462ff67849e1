"""No packet leaves for a forbidden address: counted by the kernel, not by the
engine (tests/faults/ssrf.py)."""
import sys

from harness import ROOT, check, equal, main

sys.path.insert(0, str(ROOT / "tests/faults"))
import ssrf  # noqa: E402


def test_no_way_out_reaches_a_forbidden_address():
    got = ssrf.inside(defect=False)
    check(got["packets"] == 0, f"packets left: {got}")
    equal(got["reached"], [], "forbidden addresses that answered")
    check(got["open before"].get("10.0.0.0/8"), f"the counters do not count: {got}")
    # Silence alone proves nothing: what may be reached was, and a name that turned was caught at its second look-up.
    equal(got["public"], ["/good", "/goodname", "/goodtoken"], "public addresses")
    equal(got["rebound"], 5, "names caught after they turned private")
    equal(got["errors"], ["the address may not be dialled", "the token request to the authorization server failed"], "what is told of blocked ones")
    check(not got["key_log"], "TLS keys were logged")


def test_an_engine_with_private_addresses_open_is_counted():
    got = ssrf.inside(defect=True, only="name|late")
    check(got["packets"] > 100 and len(got["live"]) >= 5 and got["redelivered"] and got["tuma run"], f"hardly counted: {got}")


why = ssrf.missing()
if why:
    print(f"ok 1 - no packet leaves for a forbidden address # SKIP {why}\n1..1")
else:
    main(globals())
