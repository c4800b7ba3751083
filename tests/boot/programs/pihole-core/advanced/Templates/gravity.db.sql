-- Stands in for the file of the same name in pi-hole/pi-hole: the tables that imgbuild fills, with their columns.
BEGIN TRANSACTION;
CREATE TABLE "group" (id INTEGER PRIMARY KEY, enabled BOOLEAN NOT NULL DEFAULT 1, name TEXT UNIQUE NOT NULL);
INSERT INTO "group" (id, name) VALUES (0, 'Default');
CREATE TABLE adlist (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL,
    enabled BOOLEAN NOT NULL DEFAULT 1,
    date_added INTEGER NOT NULL DEFAULT 0,
    comment TEXT,
    date_updated INTEGER,
    number INTEGER NOT NULL DEFAULT 0,
    invalid_domains INTEGER NOT NULL DEFAULT 0,
    status INTEGER NOT NULL DEFAULT 0,
    abp_entries INTEGER NOT NULL DEFAULT 0,
    type INTEGER NOT NULL DEFAULT 0,
    UNIQUE (address, type)
);
CREATE TABLE adlist_by_group (adlist_id INTEGER NOT NULL, group_id INTEGER NOT NULL, PRIMARY KEY (adlist_id, group_id));
CREATE TABLE gravity (domain TEXT NOT NULL, adlist_id INTEGER NOT NULL);
CREATE TABLE info (property TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO info VALUES ('version', '20');
CREATE VIEW vw_gravity AS
    SELECT domain, gravity.adlist_id AS adlist_id, group_id FROM gravity
    JOIN adlist ON adlist.id = gravity.adlist_id AND adlist.enabled = 1
    JOIN adlist_by_group ON adlist_by_group.adlist_id = gravity.adlist_id;
CREATE TRIGGER tr_adlist_add AFTER INSERT ON adlist
    BEGIN INSERT INTO adlist_by_group (adlist_id, group_id) VALUES (NEW.id, 0); END;
COMMIT;
