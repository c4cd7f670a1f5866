package duo

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds a secret key so that no way of printing it shows it.
type Secret struct{ value string }

// NewSecret wraps a secret key.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the key itself, for signing and for nothing else.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no key.
func (s Secret) IsZero() bool { return s.value == "" }

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { fmt.Fprint(f, redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
