package config

// Load reads and checks the file at path. The error is a Problems where the
// file was read but is not valid; the configuration is then nil.
func Load(path string) (*Config, error) { return Parse(path, nil) }

// Parse is Load of a file that was read already. The name is used in messages
// and to find the files that the configuration refers to by relative paths.
func Parse(name string, src []byte) (*Config, error) { panic("not yet") }
