"""An archive by pynetdicom: `archive.py PORT NOTES DELAY`; notes the instance UID of each object that it stores, one a line.

It takes DELAY milliseconds for each, and listens when the file NOTES is there.
"""

import sys
import time

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pydicom.uid import ExplicitVRLittleEndian


def main(port, notes, delay):
    file = open(notes, "a", buffering=1)

    def store(event):
        time.sleep(delay / 1000)
        file.write(event.request.AffectedSOPInstanceUID + "\n")
        return 0

    ae = AE(ae_title="ARCHIVE")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ExplicitVRLittleEndian)
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
