--- The tables, step by step: each list entry brings a database from one version to the next, in one transaction. A newer database than
-- this program knows is refused, so that an older program never writes into it.
--
-- system.db (accounts, sessions, throttle, audit, contacts, wishes, URL settings: shared by hub and ui of one host) and ui.db (events and
-- what is counted from them). Every table has a primary key; none has an auto-increment of ours (Galera). Names of ids: campaign,
-- recipient, link are the token's numbers; `who` is "r" and the recipient, or "p" and the pseudonym, "" where the level keeps nobody.
local tonumber, tostring = tonumber, tostring
local _ENV = nil

local system = {
  [[
CREATE TABLE account (name VARCHAR(64) NOT NULL PRIMARY KEY, hash VARCHAR(255) NOT NULL, role VARCHAR(16) NOT NULL,
  created_ms BIGINT NOT NULL, login_ms BIGINT)
--
CREATE TABLE session (id VARCHAR(64) NOT NULL PRIMARY KEY, account VARCHAR(64) NOT NULL, boot VARCHAR(64) NOT NULL,
  created_mono BIGINT NOT NULL, used_mono BIGINT NOT NULL, created_ms BIGINT NOT NULL, address VARCHAR(64) NOT NULL)
--
CREATE TABLE throttle (name VARCHAR(160) NOT NULL PRIMARY KEY, fails INTEGER NOT NULL, boot VARCHAR(64) NOT NULL,
  last_mono BIGINT NOT NULL)
--
CREATE TABLE audit (at_ms BIGINT NOT NULL, id VARCHAR(32) NOT NULL, account VARCHAR(64) NOT NULL, address VARCHAR(64) NOT NULL,
  what VARCHAR(64) NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (at_ms, id))
--
CREATE TABLE contact (component VARCHAR(32) NOT NULL, place VARCHAR(255) NOT NULL, tried_ms BIGINT NOT NULL, seen_ms BIGINT,
  version VARCHAR(64), fault TEXT, status TEXT, PRIMARY KEY (component, place))
]],
  [[
CREATE TABLE url_setting (level VARCHAR(8) NOT NULL, name VARCHAR(64) NOT NULL, setting VARCHAR(16) NOT NULL, url TEXT NOT NULL,
  changed_ms BIGINT NOT NULL, changed_by VARCHAR(64) NOT NULL, PRIMARY KEY (level, name, setting))
--
CREATE TABLE account_group (account VARCHAR(64) NOT NULL PRIMARY KEY, grp VARCHAR(64) NOT NULL)
]],
  [[
CREATE TABLE database_setting (what VARCHAR(16) NOT NULL PRIMARY KEY, plugin VARCHAR(64) NOT NULL, dbname VARCHAR(255) NOT NULL,
  dbuser VARCHAR(255) NOT NULL, password VARCHAR(255) NOT NULL, host VARCHAR(255) NOT NULL, port INTEGER NOT NULL,
  changed_ms BIGINT NOT NULL, changed_by VARCHAR(64) NOT NULL)
]],
  [[
CREATE TABLE wish (what VARCHAR(64) NOT NULL PRIMARY KEY, value VARCHAR(255) NOT NULL, account VARCHAR(64) NOT NULL,
  address VARCHAR(64) NOT NULL, asked_ms BIGINT NOT NULL, tried_ms BIGINT, fault TEXT, refused INTEGER NOT NULL)
]],
}

local ui = {
  [[
CREATE TABLE events (tracker VARCHAR(63) NOT NULL, epoch BIGINT NOT NULL, seq BIGINT NOT NULL, type VARCHAR(16) NOT NULL,
  ms BIGINT NOT NULL,
  campaign BIGINT NOT NULL, who VARCHAR(80) NOT NULL, link BIGINT NOT NULL, level VARCHAR(16) NOT NULL, class VARCHAR(16) NOT NULL,
  reasons TEXT NOT NULL, since BIGINT, address VARCHAR(64), agent TEXT, listener VARCHAR(64), tls VARCHAR(16), method VARCHAR(16),
  PRIMARY KEY (tracker, epoch, seq)){without_rowid}
--
CREATE TABLE campaign (id BIGINT NOT NULL PRIMARY KEY, first_ms BIGINT NOT NULL, last_ms BIGINT NOT NULL)
--
CREATE TABLE rollup_hour (campaign BIGINT NOT NULL, hour BIGINT NOT NULL, type VARCHAR(16) NOT NULL, class VARCHAR(16) NOT NULL,
  total BIGINT NOT NULL, uniq BIGINT NOT NULL, PRIMARY KEY (campaign, hour, type, class)){without_rowid}
--
CREATE TABLE rollup_campaign (campaign BIGINT NOT NULL, type VARCHAR(16) NOT NULL, machine INTEGER NOT NULL, total BIGINT NOT NULL,
  uniq BIGINT NOT NULL, unknown_who BIGINT NOT NULL, PRIMARY KEY (campaign, type, machine)){without_rowid}
--
CREATE TABLE rollup_link (campaign BIGINT NOT NULL, link BIGINT NOT NULL, machine INTEGER NOT NULL, total BIGINT NOT NULL,
  uniq BIGINT NOT NULL, PRIMARY KEY (campaign, link, machine)){without_rowid}
--
CREATE TABLE recipient (campaign BIGINT NOT NULL, who VARCHAR(80) NOT NULL, type VARCHAR(16) NOT NULL, machine INTEGER NOT NULL,
  first_ms BIGINT NOT NULL, last_ms BIGINT NOT NULL, total BIGINT NOT NULL, PRIMARY KEY (campaign, who, type, machine)){without_rowid}
--
CREATE TABLE recipient_link (campaign BIGINT NOT NULL, link BIGINT NOT NULL, who VARCHAR(80) NOT NULL, machine INTEGER NOT NULL,
  PRIMARY KEY (campaign, link, who, machine)){without_rowid}
--
CREATE TABLE epoch (tracker VARCHAR(63) NOT NULL, epoch BIGINT NOT NULL, first_seq BIGINT NOT NULL, last_seq BIGINT NOT NULL,
  PRIMARY KEY (tracker, epoch)){without_rowid}
--
CREATE TABLE cursor_at (tracker VARCHAR(63) NOT NULL PRIMARY KEY, position BIGINT NOT NULL, started_ms BIGINT NOT NULL)
--
CREATE TABLE source (place VARCHAR(255) NOT NULL PRIMARY KEY, tracker VARCHAR(63), upto_ms BIGINT, seen_ms BIGINT, fault TEXT,
  fault_ms BIGINT, fetched BIGINT)
--
CREATE TABLE alarm (tracker VARCHAR(63) NOT NULL, kind VARCHAR(16) NOT NULL, epoch BIGINT NOT NULL, expected BIGINT NOT NULL,
  found BIGINT NOT NULL, position BIGINT NOT NULL, at_ms BIGINT NOT NULL, pauses INTEGER NOT NULL, accepted_ms BIGINT,
  accepted_by VARCHAR(64), PRIMARY KEY (tracker, kind, epoch, expected, found))
]],
}

local function version_of(db)
  local there, why = db:one(db.dialect.tables, "portreeve_schema")
  if there == nil then
    return nil, why
  end
  if not there then
    return 0
  end
  local row, fault = db:one("SELECT version FROM portreeve_schema WHERE what = ?", "tables")
  if row == nil then
    return nil, fault
  end
  return row and tonumber(row.version) or 0
end

local function step(tx, steps, from)
  tx:run("CREATE TABLE IF NOT EXISTS portreeve_schema (what VARCHAR(32) NOT NULL PRIMARY KEY, version INTEGER NOT NULL)")
  local row = tx:one("SELECT version FROM portreeve_schema WHERE what = ?", "tables")
  local now = row and tonumber(row.version) or 0
  if now ~= from then
    return now -- another thread was faster
  end
  for text in (steps[from + 1] .. "\n--\n"):gmatch("(.-)\n%-%-\n") do
    tx:run((text:gsub("{without_rowid}", function() return tx.dialect.without_rowid end)))
  end
  if row then
    tx:run("UPDATE portreeve_schema SET version = ? WHERE what = ?", from + 1, "tables")
  else
    tx:run("INSERT INTO portreeve_schema (what, version) VALUES (?, ?)", "tables", from + 1)
  end
  return from + 1
end

local function migrate(steps)
  return function(db)
    local now, why = version_of(db)
    while now and now < #steps do
      now, why = db:transaction(step, steps, now)
    end
    if not now then
      return nil, why
    end
    if now > #steps then
      return nil, "this database has version " .. tostring(now) .. ", made by a newer program; this one knows up to "
        .. tostring(#steps) .. ": start the newer program, or restore an older copy of the file"
    end
    return true
  end
end

return { system = migrate(system), ui = migrate(ui) }
