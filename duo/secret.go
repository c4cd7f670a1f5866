package duo

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds a secret key so that no way of printing it shows it. The key is
// within a function, since fmt looks into unexported fields of what holds a
// Secret without asking its methods.
type Secret struct{ reveal func() string }

// NewSecret wraps a secret key.
func NewSecret(value string) Secret { return Secret{func() string { return value }} }

// Reveal returns the key itself, for signing and for nothing else; empty if
// there is none.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether there is no key.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { fmt.Fprint(f, redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
