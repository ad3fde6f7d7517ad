"""A second Modbus master for the interoperability tests, driven by pymodbus.

usage: master.py tcp PORTNUMBER | master.py rtu PORT ROUNDS

tcp: asks unit 7, served by slave.py, every function that can be handed on,
and prints what each answered.
rtu: reads holding registers 0 to 9 of units 1 to 3 in turn, so many rounds,
and prints what came as UNIT VALUES.
"""

import sys

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.mei_message import ReadDeviceInformationRequest

SPEED = 115200


def told(answer, *fields):
    """The fields of an answer, or its exception."""
    if answer.isError():
        code = getattr(answer, "exception_code", None)
        return str(answer) if code is None else "exception %d" % code
    return " ".join(str(getattr(answer, f)) for f in fields)


def all_functions(client):
    unit = 7
    yield "coils", told(client.read_coils(0, 8, slave=unit), "bits")
    yield "discrete", told(client.read_discrete_inputs(0, 8, slave=unit), "bits")
    yield "holding", told(client.read_holding_registers(0, 2, slave=unit), "registers")
    yield "input", told(client.read_input_registers(10, 2, slave=unit), "registers")
    yield "write coil", told(client.write_coil(4, True, slave=unit), "address", "value")
    yield "write register", told(client.write_register(90, 4660, slave=unit), "address", "value")
    yield "write coils", told(client.write_coils(5, [True, False, True], slave=unit), "address", "count")
    yield "write registers", told(client.write_registers(91, [1, 2, 3], slave=unit), "address", "count")
    yield "mask write", told(client.mask_write_register(address=90, and_mask=0xFF00, or_mask=0x0055, unit=unit), "and_mask", "or_mask")
    yield "read and write", told(
        client.readwrite_registers(read_address=90, read_count=4, write_address=93, write_registers=[7], unit=unit), "registers")
    yield "identification", told(client.execute(ReadDeviceInformationRequest(read_code=1, unit=unit)), "information")
    yield "missing", told(client.read_holding_registers(200, 1, slave=unit), "registers")
    yield "nobody", told(client.read_holding_registers(0, 1, slave=9), "registers")


if sys.argv[1] == "tcp":
    client = ModbusTcpClient("127.0.0.1", port=int(sys.argv[2]), timeout=10)
    client.connect()
    for name, text in all_functions(client):
        print("%s: %s" % (name, text))
else:
    client = ModbusSerialClient(sys.argv[2], baudrate=SPEED, parity="N", timeout=2)
    client.connect()
    for _ in range(int(sys.argv[3])):
        for unit in (1, 2, 3):
            print(unit, told(client.read_holding_registers(0, 10, slave=unit), "registers"), flush=True)
client.close()
