"""Write objects into a domain controller that does not run: `samba_fill.py SMB_CONF STEPS`, run by the Python that Samba was built for.

STEPS is JSON: a list of steps, each one transaction with a list of changes: [DN, {attribute: value or values}] adds an object,
[DN, {attribute: value}, "replace" or "add"] changes one, [DN, {account: rights}, "grant"] lets an account do something with one, or not (SDDL). BASE in a
DN or value is the domain's naming context, SERVER the DN of this controller's settings.
"""

import json
import sys

import ldb
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_pack, ndr_unpack
from samba.param import LoadParm
from samba.samdb import SamDB


def values(value, names):
    """The octets of one value or several; `hex:` is before octets in hexadecimal digits."""
    listed = value if isinstance(value, list) else [value]
    for name, meant in names.items():
        listed = [one.replace(name, meant) for one in listed]
    return [bytes.fromhex(one[4:]) if one.startswith("hex:") else one.encode() for one in listed]


def grant(sam, dn, rights):
    """Add rights of accounts to an object, which may be the container of deleted ones."""
    controls = ["show_deleted:1"]
    found = sam.search(base=dn, scope=ldb.SCOPE_BASE, attrs=["nTSecurityDescriptor"], controls=controls)[0]
    descriptor = ndr_unpack(security.descriptor, found["nTSecurityDescriptor"][0])
    written = descriptor.as_sddl(security.dom_sid(sam.get_domain_sid()))
    for account, letters in rights.items():
        sid = sam.search(expression=f"(sAMAccountName={account})", attrs=["objectSid"])[0]["objectSid"][0]
        owned, _, aces = written.partition("D:")
        flags, _, aces = aces.partition("(")
        # A right that is denied comes first.
        ace = letters if letters.startswith("OD;") else f"A;;{letters};;"
        written = f"{owned}D:{flags}({ace};{ndr_unpack(security.dom_sid, sid)})({aces}"
    changed = ldb.Message(found.dn)
    packed = ndr_pack(security.descriptor.from_sddl(written, security.dom_sid(sam.get_domain_sid())))
    changed["sd"] = ldb.MessageElement(packed, ldb.FLAG_MOD_REPLACE, "nTSecurityDescriptor")
    sam.modify(changed, controls=[*controls, "provision:0", "relax:0"])


def main():
    lp = LoadParm()
    lp.load(sys.argv[1])
    lp.set("dsdb:schema update allowed", "yes")
    with open(sys.argv[2], encoding="utf-8") as opened:
        steps = json.load(opened)
    # Each step in a database opened anew: classes and attributes of one step are there in the next.
    for step in steps:
        sam = SamDB(url=lp.private_path("sam.ldb"), session_info=system_session(lp), lp=lp)
        names = {"BASE": str(sam.domain_dn()), "SERVER": sam.get_dsServiceName()}
        sam.transaction_start()
        for dn, attributes, *how in step:
            if how == ["grant"]:
                grant(sam, values(dn, names)[0].decode(), attributes)
                continue
            flag = ldb.FLAG_MOD_REPLACE if how == ["replace"] else ldb.FLAG_MOD_ADD
            change = ldb.Message(ldb.Dn(sam, values(dn, names)[0].decode()))
            for name, value in attributes.items():
                change[name] = ldb.MessageElement(values(value, names), flag, name)
            if how:
                sam.modify(change, controls=["provision:0", "relax:0"])
            else:
                sam.add(change, controls=["relax:0"])
        sam.transaction_commit()


main()
