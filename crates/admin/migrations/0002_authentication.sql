-- Other ways to authenticate than a secret, and what is remembered of assertions. Plain SQL that SQLite and PostgreSQL both accept.

-- The public keys of the account's assertions: a JWK Set as this program wrote it.
ALTER TABLE accounts ADD COLUMN jwks TEXT;
-- The rule for the account's client certificate, as JSON.
ALTER TABLE accounts ADD COLUMN certificate TEXT;
ALTER TABLE accounts ADD COLUMN certificate_bound_tokens BOOLEAN NOT NULL DEFAULT FALSE;
-- The one element for which the account may report.
ALTER TABLE accounts ADD COLUMN element_id TEXT;

-- Each assertion that was accepted, until it cannot be accepted any more. The primary key is what keeps one from counting
-- twice, whichever replica it comes to.
CREATE TABLE assertions (
    client_id TEXT NOT NULL,
    -- SHA-256 of the identifier, in lower-case hexadecimal: whatever its length, it takes the same room.
    jti_sha256 TEXT NOT NULL,
    forget_at BIGINT NOT NULL,
    PRIMARY KEY (client_id, jti_sha256)
);

CREATE INDEX assertions_by_end ON assertions (forget_at);
