-- The ui with real SQLite: the event store, the fetcher against a tracker made here, reports and pages.
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local trusted = dofile(folder .. "trusted.lua")
local cjson = require "cjson"

local HOUR = 3600000
local START = 1700000000000 - 1700000000000 % HOUR

-- A tracker's spool: batches of lines, as the transfer port answers for them.
local function fake_tracker(world, id)
  local t = { id = id or "trk1", epoch = START, seq = 0, batches = {}, last = 0, acked = 0, acks = {}, asked = {}, up = true }
  function t.event(over)
    t.seq = t.seq + 1
    local e = { tracker = t.id, epoch = t.epoch, seq = t.seq, type = "open", ms = START + t.seq * 1000, campaign = 7, recipient = 1,
      link = 0,
      level = "personal", class = "human", reasons = {}, since = 60, listener = "http", tls = "none", method = "GET" }
    for k, v in pairs(over or {}) do
      e[k] = v
    end
    return cjson.encode(e)
  end
  function t.commit(...)
    t.last = t.last + 1
    t.batches[#t.batches + 1] = { pos = t.last, text = table.concat({ ... }, "\n") .. "\n" }
  end
  local function ack(position)
    if position > t.last then
      return { status = 409, headers = {}, body = "position beyond the end\n" }
    end
    t.acked = math.max(t.acked, position)
    while t.batches[1] and t.batches[1].pos <= t.acked do
      table.remove(t.batches, 1)
    end
  end
  function t.answer(rq)
    if not t.up then
      return nil, "no answer from http://127.0.0.1:7000: Connection refused"
    end
    t.asked[#t.asked + 1] = rq.url
    local after, position = tonumber(rq.url:match("after=(%d+)")), tonumber(rq.url:match("position=(%d+)"))
    if rq.method == "POST" then
      t.acks[#t.acks + 1] = position
      if t.refuse_ack then
        return nil, "connection lost"
      end
      return ack(position) or { status = 200, headers = {}, body = "ok\n" }
    end
    local refused = rq.url:find("reader=") and ack(after)
    if refused then
      return refused
    end
    local out, last = {}, after
    for _, b in ipairs(t.batches) do
      if b.pos > after and #out < (t.most or 100) then
        out[#out + 1], last = b.text, b.pos
      end
    end
    return { status = 200, body = table.concat(out), headers = { ["x-tracker-id"] = t.id, ["x-spool-epoch"] = tostring(t.epoch),
      ["x-last-position"] = tostring(last), ["x-spool-newest"] = tostring(math.max(t.last, last)) } }
  end
  world.call = t.answer
  return t
end

describe("the ui", function()
  local world, tracker, db, fetch, fetcher
  local function never() return false end

  before_each(function()
    world = trusted.install { status = { version = "0.1.0", components = "tracker,ui,hub", listeners = {} } }
    tracker = fake_tracker(world)
    fetch = require "portreeve.ui.fetch"
    db = require("portreeve.web.places").ui(world.state)
    fetcher = fetch.new { conf = {}, db = db, engine = package.loaded["portreeve.engine"], call = function(rq) return world.call(rq) end }
  end)
  after_each(function()
    db:close()
    world.finish()
  end)

  local function count(sql)
    return math.tointeger(tonumber(assert(db:one("SELECT COUNT(*) AS n FROM " .. (sql or "events"))).n))
  end
  local function round()
    return fetcher:round(never)
  end

  describe("fetcher", function()
    it("stores each event once and acknowledges afterwards", function()
      tracker.commit(tracker.event(), tracker.event { type = "click", link = 3 })
      tracker.commit(tracker.event { recipient = 2 })
      assert.equal("new", round())
      assert.equal(3, count())
      assert.equal(2, tracker.acked)
      assert.equal("idle", round())
      assert.same({ 2 }, tracker.acks)
    end)
    it("asks where the configuration says", function() -- M27
      local other = fetch.new { db = db, engine = package.loaded["portreeve.engine"], call = function(rq) return world.call(rq) end,
        conf = { lui = { TrackerHost = { value = "fd00::7" }, TrackerCommunicationsPort = { value = 7001, file = "lui.ini", line = 3 } } } }
      other:round(never)
      assert.truthy(tracker.asked[1]:find("^http://%[fd00::7%]:7001/events%?"))
    end)
    it("reads under a name of its own, which outlives restart and database, so that another ui's haste costs it nothing", function() -- M27
      local path = world.state .. "/db/ui.reader"
      local function asked_by()
        local name
        for _, url in ipairs(tracker.asked) do
          name = url:match("[?&]reader=([%w._-]+)") or name
        end
        return name
      end
      tracker.commit(tracker.event())
      assert.equal("new", round())
      local first = asked_by()
      assert.truthy(first and first:find("^ui%-%x+$") and #first == 19, first)
      assert.equal(first .. "\n", assert(io.open(path)):read("a"))
      fetcher = fetch.new { conf = {}, db = db, engine = package.loaded["portreeve.engine"], call = function(rq) return world.call(rq) end }
      round()
      assert.equal(first, asked_by())
      assert(os.remove(path)) -- as it was before names were the ui's own: the tracker knows `ui`
      fetcher = fetch.new { conf = {}, db = db, engine = package.loaded["portreeve.engine"], call = function(rq) return world.call(rq) end }
      round()
      assert.equal("ui", asked_by())
    end)
    it("finds the port the kernel chose", function()
      world.status.listeners = { { name = "communications", address = "0.0.0.0", port = 43210.0 } }
      local other = fetch.new { db = db, engine = package.loaded["portreeve.engine"], call = function(rq) return world.call(rq) end,
        conf = { lui = { TrackerCommunicationsPort = { value = 7000, file = "" } }, tracker = { CommunicationsPort = { value = 0 } } } }
      other:round(never)
      assert.truthy(tracker.asked[1]:find("^http://127%.0%.0%.1:43210/events%?"))
    end)
    it("stores nothing twice when the acknowledgement is lost", function()
      tracker.commit(tracker.event(), tracker.event())
      tracker.refuse_ack = true
      assert.is_nil((round()))
      assert.equal(2, count())
      tracker.refuse_ack = false
      tracker.commit(tracker.event())
      assert.equal("new", round())
      assert.equal(3, count())
      assert.equal(2, tracker.acked)
    end)
    it("acknowledges after a restart what it had committed", function()
      tracker.commit(tracker.event())
      tracker.refuse_ack = true
      round()
      tracker.refuse_ack = false
      fetcher = fetch.new { conf = {}, db = db, engine = package.loaded["portreeve.engine"], call = function(rq) return world.call(rq) end }
      assert.equal("idle", round())
      assert.equal(1, tracker.acked)
    end)
    it("never acknowledges what is not committed", function()
      tracker.commit(tracker.event())
      assert(db:ensure())
      assert(db:run("CREATE TRIGGER full BEFORE INSERT ON rollup_hour BEGIN SELECT RAISE(ABORT, 'disk full'); END"))
      assert.is_nil((round()))
      assert.same({}, tracker.acks)
      assert.equal(0, count()) -- all or nothing: the row went with the roll-up
      assert.equal(0, count "recipient")
      assert(db:run("DROP TRIGGER full"))
      assert.equal("new", round())
      assert.equal(1, count())
    end)
    it("takes duplicates on the wire as one", function()
      local line = tracker.event()
      tracker.commit(line, line)
      tracker.commit(line)
      assert.equal("new", round())
      assert.equal(1, count())
      assert.equal(1, require("portreeve.db.reports").new(db):campaign(7).sums.open[0].total)
    end)
    it("refuses damaged and cut answers and asks again", function()
      for _, bad in ipairs { "not json", '{"tracker":"trk1"}', tracker.event():sub(1, 40), '[1,2]' } do
        tracker.batches = { { pos = 1, text = bad .. "\n" } }
        tracker.last = 1
        local what, why = round()
        assert.is_nil(what)
        assert.truthy(why:find("damaged answer", 1, true), bad)
      end
      tracker.seq = 0
      tracker.batches = { { pos = 1, text = tracker.event() .. "\n" .. tracker.event():sub(1, 60) } }
      assert.is_nil((round()))
      assert.equal(0, count())
      assert.equal(0, tracker.acked)
    end)
    it("refuses events of another tracker in an answer", function()
      tracker.commit(tracker.event { tracker = "other" })
      assert.is_nil((round()))
      assert.equal(0, count())
    end)
    it("refuses what is no tracker", function()
      world.call = function() return { status = 200, headers = {}, body = "<html>" } end
      assert.truthy(select(2, round()):find("is no tracker", 1, true))
    end)
    it("keeps exact numbers above 2^53", function()
      local line = tracker.event():gsub('"campaign":7', '"campaign":9007199254740993'):gsub('"recipient":1',
        '"recipient":9223372036854775807')
      tracker.commit(line)
      assert.equal("new", round())
      local row = db:one("SELECT {int:campaign}, who FROM events")
      assert.equal(9007199254740993, row.campaign)
      assert.equal("r9223372036854775807", row.who)
    end)
    it("takes the epochs of many engine lives", function()
      for life = 1, 50 do
        tracker.epoch, tracker.seq = START + life, 0
        tracker.commit(tracker.event(), tracker.event())
        if life % 7 == 0 then
          round()
        end
      end
      round()
      assert.equal(100, count())
      assert.equal(50, count "epoch")
    end)
  end)

  describe("a gap", function()
    before_each(function()
      tracker.commit(tracker.event())
      round()
      tracker.seq = tracker.seq + 5
      tracker.commit(tracker.event())
    end)
    it("stops fetching, raises an alarm and says so", function()
      assert.equal("paused", round())
      assert.equal(1, count())
      assert.equal(1, tracker.acked)
      local alarms = require("portreeve.db.reports").new(db):alarms()
      assert.same({ 2, 7, "gap" }, { alarms[1].expected, alarms[1].found, alarms[1].kind })
      assert.truthy(world.logged("error ui: tracker trk1, epoch %d+: event 2 expected, 7 came"))
      local asked = #tracker.asked
      assert.equal("paused", round())
      assert.equal(asked, #tracker.asked)
    end)
    it("is passed when a person accepts it, also after a restart", function()
      round()
      local events = require("portreeve.db.events").new(db)
      assert.equal(1, events:accept({ tracker = "trk1", kind = "gap", epoch = tracker.epoch, expected = 2, found = 7 }, "ada", world.now))
      fetcher = fetch.new { conf = {}, db = db, engine = package.loaded["portreeve.engine"], call = function(rq) return world.call(rq) end }
      assert.equal("new", round())
      assert.equal(2, count())
      assert.equal(0, #require("portreeve.db.reports").new(db):alarms())
      tracker.commit(tracker.event())
      assert.equal("new", round())
    end)
    it("at the beginning of an unknown epoch counts as one", function()
      tracker.batches = {}
      tracker.epoch, tracker.seq = START + 1, 1
      tracker.commit(tracker.event())
      assert.equal("paused", round())
    end)
  end)

  describe("a replaced spool", function()
    it("stops fetching until it is accepted, and is then read from its beginning", function()
      for _ = 1, 5 do
        tracker.commit(tracker.event())
      end
      round()
      tracker = fake_tracker(world)
      tracker.epoch = START + 9
      tracker.commit(tracker.event())
      assert.equal("paused", round())
      local alarm = require("portreeve.db.reports").new(db):alarms()[1]
      assert.same({ "rewind", 6, 1 }, { alarm.kind, alarm.expected, alarm.found })
      assert.equal(1, require("portreeve.db.events").new(db):accept(alarm, "ada", world.now))
      assert.equal("new", round())
      assert.equal(6, count())
    end)
  end)

  describe("its database", function()
    it("may be removed while it runs: what was not acknowledged comes again", function()
      tracker.commit(tracker.event(), tracker.event())
      round()
      tracker.commit(tracker.event())
      tracker.refuse_ack = true
      round()
      assert.equal(3, count())
      os.execute("rm -f '" .. world.state .. "'/db/ui.db*")
      tracker.refuse_ack = false
      assert.equal("new", round())
      assert.equal(1, count())
      assert.truthy(world.logged("the file was removed or replaced while in use"))
      assert.truthy(world.logged("2 event%(s%) had been acknowledged to a database that is gone"))
      assert.equal("lost", require("portreeve.db.reports").new(db):alarms()[1].kind)
      tracker.commit(tracker.event())
      assert.equal("new", round())
      assert.equal(2, count())
    end)
    it("removed between commit and acknowledgement is not acknowledged", function()
      tracker.commit(tracker.event())
      local acked_before = tracker.acked
      world.call = function(rq)
        if rq.method ~= "POST" and rq.url:find("reader=") then
          local answer = tracker.answer(rq)
          local store = fetcher.store_reply
          fetcher.store_reply = function(...) -- commit, then the file goes
            fetcher.store_reply = store
            local result = store(...)
            os.execute("rm -f '" .. world.state .. "'/db/ui.db*")
            return result
          end
          return answer
        end
        return tracker.answer(rq)
      end
      assert.is_nil((round()))
      assert.equal(acked_before, tracker.acked)
      world.call = tracker.answer
      assert.equal("new", round())
      assert.equal(1, count())
    end)
    it("that cannot be opened is an error, not a crash", function()
      os.execute("mkdir -p '" .. world.state .. "' && touch '" .. world.state .. "/db'")
      local what, why = round()
      assert.is_nil(what)
      assert.truthy(why:find("unable to open", 1, true))
    end)
  end)

  describe("the task", function()
    it("backs off to at most a minute and comes back", function()
      tracker.up = false
      local longest, failures = 0, 0
      local real = fetcher.back_off
      fetcher.back_off = function(self)
        local ms = real(self)
        longest, failures = math.max(longest, ms), failures + 1
        return ms
      end
      local stop_at = math.huge
      fetcher:run(function()
        if failures == 15 and stop_at == math.huge then
          tracker.up = true
          tracker.commit(tracker.event())
          stop_at = world.mono + 120000
        end
        return tracker.acked > 0 or world.mono > stop_at
      end)
      assert.equal(1, tracker.acked)
      assert.truthy(longest <= 60000 and longest > 20000)
      assert.equal(0, fetcher.failures)
      assert.truthy(world.logged("works again"))
      assert.truthy(#world.log < 10) -- one line a cause, not one a try
    end)
    it("hears a stop within half a second of its own sleep", function()
      tracker.up = false
      local stopped = false
      local before
      fetcher.failures = 10
      fetcher:run(function()
        if world.slept > 1000 and not stopped then
          stopped, before = true, world.slept
        end
        return stopped
      end)
      assert.truthy(world.slept - before <= 500)
    end)
    it("waits TransferInterval between fetches when there is one", function()
      fetcher.interval_ms = 30000
      local turns = 0
      fetcher:run(function() return world.mono > 5000000 + 100000 or turns > 100 end)
      local asked = 0
      for _, url in ipairs(tracker.asked) do
        asked = asked + (url:find("reader=ui", 1, true) and url:find("wait=0", 1, true) and 1 or 0)
      end
      assert.equal(4, asked)
    end)
  end)

  describe("reports", function()
    local reports
    before_each(function()
      reports = require("portreeve.db.reports").new(db)
    end)
    it("count totals and uniques, people and machines apart, equal to the events", function()
      local classes = { "human", "unknown", "proxy", "prefetch", "scanner", "bot" }
      local lines, state = {}, 12345
      local function random(n)
        state = (state * 1103515245 + 12345) % 2147483648
        return state // 65536 % n + 1
      end
      for _ = 1, 3000 do
        local type = ({ "open", "open", "click", "unsubscribe" })[random(4)]
        lines[#lines + 1] = tracker.event { type = type, campaign = random(3), recipient = random(60), link = type == "click"
          and random(4) or 0,
          class = classes[random(6)], ms = START + random(400) * 600000 }
        if #lines == 100 then
          tracker.commit(table.unpack(lines))
          lines = {}
          round()
        end
      end
      assert.equal(3000, count())
      for campaign = 1, 3 do
        local c = reports:campaign(campaign)
        for _, type in ipairs { "open", "click", "unsubscribe" } do
          for machine = 0, 1 do
            local set = machine == 0 and "('human','unknown')" or "('proxy','prefetch','scanner','bot')"
            local want = db:one("SELECT COUNT(*) AS total, COUNT(DISTINCT who) AS uniq FROM events WHERE campaign = ? AND type = ? AND "
              .. "class IN " .. set,
              campaign, type)
            assert.same({ want.total, want.uniq }, { c.sums[type][machine].total, c.sums[type][machine].uniq })
          end
        end
        for _, l in ipairs(reports:links(campaign, 100)) do
          local want = db:one("SELECT COUNT(*) AS total, COUNT(DISTINCT who) AS uniq FROM events WHERE campaign = ? AND type = 'click' "
            .. "AND link = ? "
            .. "AND class IN ('human','unknown')", campaign, l.link)
          assert.same({ want.total, want.uniq }, { l.human, l.human_uniq })
        end
        for _, by in ipairs { "hour", "day" } do
          local data = reports:over_time(c, by)
          local people = 0
          for _, slot in ipairs(data.open) do
            people = people + slot.human
          end
          local want = db:one("SELECT COUNT(*) AS n FROM events WHERE campaign = ? AND type = 'open' AND class IN ('human','unknown') "
            .. "AND ms >= ?",
            campaign, data.first * HOUR)
          assert.equal(want.n, people)
        end
      end
    end)
    it("know uniques only where the level tells people apart", function()
      tracker.commit(tracker.event { recipient = cjson.null, level = "blind" }, tracker.event { recipient = cjson.null, level = "blind" },
        tracker.event { recipient = cjson.null, pseudonym = "00ff", level = "anonymous" }, tracker.event { recipient = cjson.null,
          pseudonym = "00ff" })
      round()
      local open = reports:campaign(7).sums.open[0]
      assert.same({ 4, 1, 2 }, { open.total, open.uniq, open.unknown })
      assert.equal(0, #reports:recipients(7, 10, 0)) -- a pseudonym is no recipient
    end)
    it("never read the events", function()
      tracker.commit(tracker.event(), tracker.event { type = "click", link = 1 })
      round()
      assert(db:run("DROP TABLE events"))
      local c = reports:campaign(7)
      assert.truthy(c and reports:campaigns(10, 0)[1] and reports:links(7, 10)[1] and reports:classes(7)[1] and reports:recipients(7, 10,
        0)[1]
        and reports:over_time(c, "hour") and reports:sources()[1])
    end)
    it("leave out what is too long ago, and say so", function()
      tracker.commit(tracker.event { ms = START }, tracker.event { ms = START + 400 * 86400000 })
      round()
      local data = reports:over_time(reports:campaign(7), "day")
      assert.same({ true, 92 }, { data.cut, data.n })
      data = reports:over_time(reports:campaign(7), "hour")
      assert.same({ true, 96 }, { data.cut, data.n })
    end)
  end)

  describe("pages", function()
    local browser
    before_each(function()
      local ui, hub = require "portreeve.ui", require "portreeve.hub"
      browser = trusted.browser { ["/lui"] = ui.handler({}), ["/hub"] = hub.handler({}) }
      local file = assert(io.open(world.state .. "/keys/setup.token"))
      local token = file:read("l")
      file:close()
      browser.post("/hub/setup", { token = token, account = "ada", password = "correct horse", again = "correct horse" })
      assert.equal(303, browser.post("/lui/login", { account = "ada", password = "correct horse" }).status)
    end)
    it("share the session with the hub, and want one", function()
      assert.equal(200, browser.get("/hub/").status)
      browser.cookie = nil
      assert.equal("/lui/login?next=%2Flui%2Fcampaign%2F7%3Fby%3Dday", browser.get("/lui/campaign/7?by=day").headers.Location)
    end)
    it("show a campaign's figures, a plot and its table", function()
      tracker.commit(tracker.event(), tracker.event { recipient = 2 }, tracker.event { class = "proxy" }, tracker.event { type = "click",
        link = 5 })
      round()
      assert.truthy(browser.get("/lui/").body:find('<a href="/lui/campaign/7">Campaign 7</a>', 1, true))
      local body = browser.get("/lui/campaign/7").body
      for _, text in ipairs { "<h1>Campaign 7</h1>", "<svg ", 'role="img"', '<rect class="human"', '<rect class="machine"',
        "The same as a table", "Link 5",
        "Events up to", "<b>2</b><span>2 unique</span>" } do
        assert.truthy(body:find(text, 1, true), text)
      end
      assert.is_nil(body:find(" style=", 1, true))
      assert.is_nil(browser.get("/lui/campaign/7?show=human").body:find('<rect class="machine"', 1, true))
      assert.truthy(browser.get("/lui/campaign/7?by=day").body:find("Opens by day", 1, true))
      assert.equal(200, browser.get("/lui/campaign/7?by=%3Cx%3E&show=%22&page=-1&page=x").status)
    end)
    it("are empty but whole before the first event", function()
      assert.truthy(browser.get("/lui/").body:find("No events yet", 1, true))
      assert.equal(404, browser.get("/lui/campaign/7").status)
      assert.equal(404, browser.get("/lui/campaign/x").status)
    end)
    it("escape what trackers send", function()
      tracker.commit(tracker.event { class = "<img src=x>", listener = "<b>" }, tracker.event { recipient = cjson.null,
        pseudonym = "<script>" })
      round()
      local body = browser.get("/lui/campaign/7").body
      assert.is_nil(body:find("<img src=x", 1, true))
      assert.is_nil(body:find("<script", 1, true))
    end)
    it("let a person accept a gap, by POST with the token", function()
      tracker.commit(tracker.event())
      round()
      tracker.seq = 9
      tracker.commit(tracker.event())
      round()
      local body = browser.get("/lui/").body
      assert.truthy(body:find("Accept and go on", 1, true))
      local fields = { tracker = "trk1", kind = "gap", epoch = tracker.epoch, expected = 2, found = 10 }
      assert.equal(403, browser.post("/lui/alarms/accept", fields).status)
      assert.equal("paused", round())
      fields.csrf = browser.csrf("/lui/")
      assert.equal(303, browser.post("/lui/alarms/accept", fields).status)
      assert.equal("new", round())
      assert.is_nil(browser.get("/lui/").body:find("Accept and go on", 1, true))
    end)
    it("live on when the database goes away", function()
      tracker.commit(tracker.event())
      round()
      os.execute("rm -f '" .. world.state .. "'/db/ui.db*")
      assert.truthy(browser.get("/lui/").body:find("No events yet", 1, true))
      db:close()
      os.execute("rm -f '" .. world.state .. "'/db/ui.db* && mkdir '" .. world.state .. "/db/ui.db'")
      assert.equal(503, browser.get("/lui/").status)
      os.execute("rmdir '" .. world.state .. "/db/ui.db'")
      assert.equal(200, browser.get("/lui/").status)
    end)
    it("answer other components on the internal port", function()
      tracker.commit(tracker.event())
      round()
      local internal = require("portreeve.internal").handler({})
      local answer = internal(trusted.request("GET", "/internal/status"))
      assert.equal(200, answer.status)
      local parts = cjson.decode(answer.body).components
      assert.equal("0.1.0", parts.hub.version)
      assert.equal("trk1", parts.ui.reports.sources[1].tracker)
      assert.equal(404, internal(trusted.request("GET", "/internal/other")).status)
      assert.equal(405, internal(trusted.request("POST", "/internal/status")).status)
    end)
  end)
end)
