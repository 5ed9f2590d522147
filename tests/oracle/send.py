"""Sends DICOM objects with pynetdicom: `send.py WHAT PORT FILE…`; the last line that it prints is its answer as JSON.

send   each file once; prints the status of each, by the digest of the file
full   FILE, an object that is too large, FILE again; prints the three statuses
abort  goes away in the middle of FILE
many   copies of FILE under UIDs of their own, until the peer is gone; notes in the second file the name under which the
       peer keeps each object that was acknowledged
"""

import hashlib
import io
import json
import socket
import struct
import sys

from pydicom import dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

# As `host/ingest/src/dicom/settings.rs` has them.
IMPLEMENTATION_CLASS = "2.25.250388515439336144276009471693657243952"
IMPLEMENTATION_VERSION = "MARTELLO_DOOR_1"


def syntax_of(dataset):
    return dataset.file_meta.TransferSyntaxUID


def associate(port, contexts):
    ae = AE(ae_title="PYNETDICOM")
    for abstract, syntax in contexts:
        ae.add_requested_context(abstract, syntax)
    association = ae.associate("127.0.0.1", port, ae_title="MARTELLO")
    if not association.is_established:
        raise SystemExit("no association")
    return association


def send(port, files):
    objects = {}
    left_out = []
    for file in files:
        try:
            dataset = dcmread(file, force=True)
            if not dataset.SOPClassUID.startswith("1.2.840.10008.5.1.4.1.1.") or not dataset.SOPInstanceUID:
                raise ValueError("no storage object")
            if "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            encode(dataset, syntax_of(dataset).is_implicit_VR, syntax_of(dataset).is_little_endian)
        except Exception as error:  # noqa: BLE001: the samples hold what no library reads
            left_out.append([file, repr(error)])
            continue
        objects[file] = dataset
    statuses = {}
    association = associate(port, {(dataset.SOPClassUID, syntax_of(dataset)) for dataset in objects.values()})
    for file, dataset in objects.items():
        try:
            status = association.send_c_store(dataset)
        except (AttributeError, ValueError) as error:
            left_out.append([file, repr(error)])
            continue
        digest = hashlib.sha256(open(file, "rb").read()).hexdigest()
        statuses[digest] = status.Status if status else None
    association.release()
    return {"statuses": statuses, "left_out": left_out}


def full(port, files):
    dataset = dcmread(files[0])
    large = dcmread(files[0])
    large.SOPInstanceUID = generate_uid()
    large.PixelData = bytes(4 << 20)
    again = dcmread(files[0])
    again.SOPInstanceUID = generate_uid()
    association = associate(port, [(dataset.SOPClassUID, ExplicitVRLittleEndian)])
    statuses = []
    for sent in [dataset, large, again]:
        sent.file_meta.MediaStorageSOPInstanceUID = sent.SOPInstanceUID
        status = association.send_c_store(sent)
        statuses.append(status.Status if status else None)
    association.release()
    return {"statuses": statuses}


def abort(port, files):
    dataset = dcmread(files[0])
    association = associate(port, [(dataset.SOPClassUID, ExplicitVRLittleEndian)])
    message = C_STORE()
    message.MessageID = 1
    message.AffectedSOPClassUID = dataset.SOPClassUID
    message.AffectedSOPInstanceUID = dataset.SOPInstanceUID
    message.Priority = 2
    message.DataSet = io.BytesIO(encode(dataset, False, True))
    # The command and the first piece of the data set as pynetdicom makes them, then a reset.
    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.pdu import P_DATA_TF

    request = C_STORE_RQ()
    request.primitive_to_message(message)
    context = association.accepted_contexts[0].context_id
    pieces = list(request.encode_msg(context, 16382))
    stream = association.dul.socket.socket
    for piece in pieces[:2]:
        pdu = P_DATA_TF()
        pdu.from_primitive(piece)
        stream.sendall(pdu.encode())
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()
    return {"aborted": len(pieces) > 2}


def kept_name(dataset):
    """The name that the door gives: the digest of the file that it writes."""
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS
    dataset.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return hashlib.sha256(file.getvalue()).hexdigest() + ".dcm"


def many(port, files):
    dataset = dcmread(files[0])
    for keyword in list(dataset.file_meta.keys()):
        if keyword.element not in (0x0000, 0x0001, 0x0002, 0x0003, 0x0010):
            del dataset.file_meta[keyword]
    dataset.preamble = bytes(128)
    association = associate(port, [(dataset.SOPClassUID, ExplicitVRLittleEndian)])
    with open(files[1], "w", buffering=1) as notes:
        for number in range(2000):
            dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{number + 1}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            name = kept_name(dataset)
            status = association.send_c_store(dataset)
            if not status or status.Status != 0:
                break
            notes.write(name + "\n")
    return {}


if __name__ == "__main__":
    what, port, files = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    print(json.dumps({"send": send, "full": full, "abort": abort, "many": many}[what](port, files)))
