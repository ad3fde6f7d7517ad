"""A Modbus master, pymodbus, that reads and writes the simulated plant.

usage: master.py rtu|ascii PORT | master.py tcp|rtu-tcp|ascii-tcp HOST PORTNUMBER

It prints the registers and bits that it read, and writes what it names.
"""

import sys

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer, ModbusSocketFramer

kind = sys.argv[1]
framer = {"rtu": ModbusRtuFramer, "ascii": ModbusAsciiFramer, "tcp": ModbusSocketFramer}[kind.split("-")[0]]
if kind in ("rtu", "ascii"):
    client = ModbusSerialClient(sys.argv[2], framer=framer, baudrate=19200, bytesize=8, parity="N", timeout=5)
else:
    client = ModbusTcpClient(sys.argv[2], int(sys.argv[3]), framer=framer, timeout=5)
if not client.connect():
    sys.exit("no connection")
print("input", client.read_input_registers(0, 4, slave=1).registers)
print("holding", client.read_holding_registers(10, 2, slave=1).registers)
print("discrete", client.read_discrete_inputs(4, 1, slave=1).bits[0])
print("missing", client.read_holding_registers(99, 1, slave=1).exception_code)
client.write_registers(10, [33, 44], slave=1)
client.write_coil(3, True, slave=1)
client.close()
