package record

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"duo_in/internal/scan"
)

// appendCompact passes the value that comes next and appends its text in one line: white space outside strings goes; names,
// numbers and escapes stay as they are written. What is not UTF-8, and each lone surrogate, becomes U+FFFD, so that strict
// readers take it.
func appendCompact(dst []byte, in *scan.Scanner) []byte {
	kind := in.Kind()
	if !isContainer(kind) {
		return appendLiteral(dst, in.Value(), in.Plain())
	}
	dst = append(dst, byte(kind))
	begin := len(dst)
	for more := in.Enter(); more; more = in.Next(kind) {
		if kind == scan.Object {
			dst = append(appendLiteral(dst, in.Name(), in.Plain()), ':')
		}
		dst = append(appendCompact(dst, in), ',')
	}
	return append(trimComma(dst, begin), scan.Closing(kind))
}

// trimComma returns dst without the comma behind the last of the members that were appended from begin on.
func trimComma(dst []byte, begin int) []byte { return dst[:max(begin, len(dst)-1)] }

// stringLen returns how many bytes the string literal takes that text begins with; one without an end takes them all.
func stringLen(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// appendLiteral appends a name or a value that is no container, what no strict reader takes of a string that is not plain
// replaced by U+FFFD.
func appendLiteral(dst, literal []byte, plain bool) []byte {
	if plain || utf8.Valid(literal) && !bytes.Contains(literal, []byte(`\ud`)) && !bytes.Contains(literal, []byte(`\uD`)) {
		return append(dst, literal...)
	}
	for rest := literal; len(rest) > 0; {
		if rest[0] != '\\' {
			r, n := utf8.DecodeRune(rest)
			dst, rest = utf8.AppendRune(dst, r), rest[n:]
			continue
		}
		n, lone := escapeLen(rest)
		if lone {
			dst = append(dst, "\uFFFD"...)
		} else {
			dst = append(dst, rest[:n]...)
		}
		rest = rest[n:]
	}
	return dst
}

// escapeLen returns how many bytes the escape takes that text begins with, those of a surrogate pair together, and whether
// it is a surrogate without its other half.
func escapeLen(text []byte) (n int, lone bool) {
	if text[1] != 'u' {
		return 2, false
	}
	first := escaped(text)
	if !utf16.IsSurrogate(first) {
		return 6, false
	}
	if bytes.HasPrefix(text[6:], []byte(`\u`)) && utf16.DecodeRune(first, escaped(text[6:])) != unicode.ReplacementChar {
		return 12, false
	}
	return 6, true
}

// escaped is what the \uXXXX stands for that text begins with.
func escaped(text []byte) rune {
	r, _ := strconv.ParseUint(string(text[2:6]), 16, 16) // hexadecimal digits, since the text is valid
	return rune(r)
}

// breaksLine reports whether some receiver may take r for the end of a line or of the text: control characters, NEL
// (U+0085) among them, and Unicode's own separators of lines and paragraphs.
func breaksLine(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
