// Package audit owns the record of every access decision: writing it, proving
// that it is whole, and reading it.
//
// Records are JSON lines in one file for each day (UTC), audit-YYYY-MM-DD.jsonl.
// Each has a sequence number and the hash of the record before it, across
// files; its own hash is over the bytes of its line. The head (number and hash
// of the last record, and of the first that is kept) is signed with an Ed25519
// key and stored apart from the records.
//
//	request ─► Append ─► queue ─► one writer: encode, chain, write, sync ─► head
//
// What the chain proves, and what it does not. Whoever can write the log files
// but not read the signing key cannot edit, remove, insert or reorder a record,
// nor remove a file or cut the tail, without Verify finding it. Records that a
// commit has not reached yet (Config.Interval) can be lost with the power; those
// written after the last head (Config.HeadInterval) can be cut unseen. Whoever
// holds the signing key as well, which includes root on the server, can write a
// new history. Against that, keep heads elsewhere: Config.OnHead hands out each
// one, and Verify compares the log with a head that was kept. A copy of all
// files with its head from an earlier time is found that way only, too.
//
// Which decisions there are is internal/cluster/access's business.
//
// What must always hold: a record never holds a token or payload; Append waits
// no longer than Config.MaxWait; a record that Append took is written before
// any that it took later.
package audit
