package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// classUnits are the device classes of Home Assistant's sensors and the units
// that it takes for each, the usual ones first; where there are none, any or no
// unit is right.
var classUnits = map[string][]string{
	"absolute_humidity":                {"g/m³", "mg/m³"},
	"apparent_power":                   {"VA", "kVA", "mVA"},
	"aqi":                              {},
	"area":                             {"m²", "cm²", "mm²", "km²", "ha", "in²", "ft²", "yd²", "mi²", "ac"},
	"atmospheric_pressure":             {"hPa", "mbar", "bar", "cbar", "kPa", "Pa", "mmHg", "inHg", "inH₂O", "psi"},
	"battery":                          {"%"},
	"blood_glucose_concentration":      {"mg/dL", "mmol/L"},
	"carbon_dioxide":                   {"ppm"},
	"carbon_monoxide":                  {"ppm", "ppb", "mg/m³", "µg/m³"},
	"conductivity":                     {"µS/cm", "mS/cm", "S/cm"},
	"current":                          {"A", "mA", "µA"},
	"data_rate":                        {},
	"data_size":                        {},
	"date":                             {},
	"distance":                         {"m", "km", "cm", "mm", "mi", "nmi", "yd", "ft", "in"},
	"duration":                         {"s", "min", "h", "d", "ms", "µs"},
	"energy":                           {"kWh", "Wh", "MWh", "GWh", "TWh", "mWh", "J", "kJ", "MJ", "GJ", "cal", "kcal", "Mcal", "Gcal"},
	"energy_distance":                  {"kWh/100km", "Wh/km", "km/kWh", "mi/kWh"},
	"energy_storage":                   {"kWh", "Wh", "MWh", "GWh", "TWh", "mWh", "J", "kJ", "MJ", "GJ", "cal", "kcal", "Mcal", "Gcal"},
	"enum":                             {},
	"frequency":                        {"Hz", "kHz", "MHz", "GHz", "mHz"},
	"gas":                              {"m³", "L", "ft³", "CCF", "MCF"},
	"humidity":                         {"%"},
	"illuminance":                      {"lx"},
	"irradiance":                       {"W/m²", "BTU/(h⋅ft²)"},
	"moisture":                         {"%"},
	"monetary":                         {},
	"nitrogen_dioxide":                 {"µg/m³", "ppb", "ppm"},
	"nitrogen_monoxide":                {"µg/m³", "ppb", "ppm"},
	"nitrous_oxide":                    {"µg/m³"},
	"ozone":                            {"µg/m³", "ppb", "ppm"},
	"ph":                               {},
	"pm1":                              {"µg/m³"},
	"pm10":                             {"µg/m³"},
	"pm25":                             {"µg/m³"},
	"pm4":                              {"µg/m³"},
	"power":                            {"W", "kW", "MW", "GW", "TW", "mW"},
	"power_factor":                     {},
	"precipitation":                    {"mm", "cm", "in"},
	"precipitation_intensity":          {"mm/h", "mm/d", "in/h", "in/d"},
	"pressure":                         {"bar", "mbar", "cbar", "hPa", "kPa", "MPa", "Pa", "mPa", "psi", "mmHg", "inHg", "inH₂O"},
	"reactive_energy":                  {"kvarh", "varh", "Mvarh"},
	"reactive_power":                   {"var", "kvar", "Mvar", "mvar"},
	"signal_strength":                  {"dBm", "dB"},
	"sound_pressure":                   {"dB", "dBA"},
	"speed":                            {"m/s", "km/h", "m/min", "mm/s", "mm/h", "mm/d", "mph", "kn", "ft/s", "in/s", "in/h", "in/d", "Beaufort"},
	"sulphur_dioxide":                  {"µg/m³", "ppb"},
	"temperature":                      {"°C", "°F", "K"},
	"temperature_delta":                {"°C", "°F", "K"},
	"timestamp":                        {},
	"volatile_organic_compounds":       {"µg/m³", "mg/m³"},
	"volatile_organic_compounds_parts": {"ppm", "ppb"},
	"voltage":                          {"V", "mV", "µV", "kV", "MV"},
	"volume":                           {"L", "mL", "m³", "ft³", "CCF", "MCF", "gal", "fl. oz."},
	"volume_flow_rate":                 {"m³/h", "m³/min", "m³/s", "L/h", "L/min", "L/s", "mL/s", "ft³/min", "gal/min", "gal/h", "gal/d"},
	"volume_storage":                   {"L", "mL", "m³", "ft³", "CCF", "MCF", "gal", "fl. oz."},
	"water":                            {"m³", "L", "ft³", "CCF", "MCF", "gal"},
	"weight":                           {"kg", "g", "mg", "µg", "t", "lb", "oz", "st"},
	"wind_direction":                   {"°"},
	"wind_speed":                       {"m/s", "km/h", "mph", "kn", "ft/s", "Beaufort"},
}

// switchClasses are the classes of what is on or off, or open or shut: binary
// sensors first, then what can be commanded.
var switchClasses = []string{
	"battery", "battery_charging", "carbon_monoxide", "cold", "connectivity", "door", "garage_door", "gas", "heat", "light", "lock",
	"moisture", "motion", "moving", "occupancy", "opening", "plug", "power", "presence", "problem", "running", "safety", "smoke",
	"sound", "tamper", "update", "vibration", "window",
	"outlet", "switch", "awning", "blind", "curtain", "damper", "garage", "gate", "shade", "shutter", "water",
}

// checkClassForm accepts the form of Home Assistant's device classes.
func checkClassForm(s string) error {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		return fmt.Errorf("%q has something else than small letters, digits and _ in it", s)
	}
	return nil
}

// checkClass warns of a class that Home Assistant does not have, which may be
// one of a later version, and of one that is not measured in the point's unit.
func (b *binder) checkClass(p *rawPoint) {
	if p.class == "" || !b.fine(p.at("class"), p.at("unit")) {
		return
	}
	units, known := classUnits[p.class]
	isSwitch := slices.Contains(switchClasses, p.class)
	switch {
	case !known && !isSwitch:
		hint := "the classes are those of sensors and binary sensors there"
		if near := nearest(p.class, append(slices.Sorted(maps.Keys(classUnits)), switchClasses...)); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		b.warn(p.at("class"), hint, "Home Assistant has no device class %q", p.class)
	case p.unit != "" && len(units) > 0 && !slices.Contains(units, strings.ReplaceAll(p.unit, "μ", "µ")): // Greek, and the micro sign
		b.warn(p.at("unit"), "", "expected %s, as the class is %q, not %s", orList(units), p.class, shorten(p.unit))
	}
}

// orList names the usual ones of a class's units.
func orList(units []string) string {
	const most = 5
	if len(units) > most {
		return strings.Join(units[:most], ", ") + " or the like"
	}
	if last := len(units) - 1; last > 0 {
		return strings.Join(units[:last], ", ") + " or " + units[last]
	}
	return units[0]
}
