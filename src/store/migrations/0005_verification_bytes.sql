-- What the patch of a verification takes, and afterwards what came of it.
ALTER TABLE verifications ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
