package duo

import (
	"context"
	"time"
)

// probed is how much of a log a probe asks for: little, and not so little that it
// would be a special case.
const probed = time.Minute

// Probe makes one call for a log as a poller does, for a single record of the
// newest minute that can be asked for, and so tells whether the keys, the
// permission and the way to Duo are right. Duo counts it as a call of that log. The
// errors are Get's, and ParsePage's for what is no page; [Explain] words them.
func (c *Client) Probe(ctx context.Context, l Log, w Window) error {
	now := c.Now()
	cursor, _, _ := NewCursor(now.Add(-w.Delay-probed), now).Open(now, w)
	a, err := c.Get(ctx, l.Path, cursor.Params(l, now, 1))
	if err == nil {
		_, err = ParsePage(l, a.Body)
	}
	return err
}

// Explain says what a failed call for a log of an account, "" for the one that the
// keys belong to, means and what the operator can do, in the words of the log line
// that a poller has for it.
func Explain(err error, l Log, account string) string {
	return diagnose(err, source{log: l, account: account}).text
}

// ExplainAccounts is Explain for the list of child accounts.
func ExplainAccounts(err error) string { return diagnoseList(err).text }
