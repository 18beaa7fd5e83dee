-- The hub's table of listeners: what a filled-in form asks for, whom it would shut out, and the way from Update to done.
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
require("portreeve.sim").install()
local trusted = dofile(folder .. "trusted.lua")

local function entry(value, text, file, line)
  return { value = value, text = text or tostring(value), file = file or "conf/listeners.ini", line = line or 3 }
end

-- As portreeve.rules makes it of:
--   secure.Port=8443 / secure.InitTLS=On / secure.Services=tracker,ui,hub     ops.Port=9180 / ops.Address=127.0.0.1 / ops.Services=ops
--   http.MaxConnections=500
local function conf_sample()
  local rules = require "portreeve.rules"
  local function e(key, value, line) return { key = key, value = value, line = line } end
  local r, report = rules.build {
    ["tomcat.ini"] = { display = "conf/tomcat.ini", entries = { e("Port", "8080", 12) } },
    ["listeners.ini"] = { display = "conf/listeners.ini", entries = {
      e("secure.Port", "8443", 3), e("secure.InitTLS", "on", 4), e("secure.Services", "tracker,ui, hub", 5),
      e("ops.Port", "9180", 7), e("ops.Address", "127.0.0.1", 8), e("ops.Services", "ops", 9), e("http.MaxConnections", "500", 11) } },
    ["certificates.ini"] = { display = "conf/certificates.ini", entries = { e("default.Certificate", "development", 1) } },
  }
  assert(not report.errors[1], report.errors[1])
  return r
end

local function socket(name, address, port, scheme, services, because)
  return { name = name, address = address, port = port + 0.0, scheme = scheme, services = services, certificate = "", active = 2.0,
    restriction = "none", list = "", state = ("accepting connections on %s:%d"):format(address, port),
    because = because or { file = "conf/listeners.ini", line = 3, entry = name .. ".Port", row = "", policy = "policies/bind.lua:226" } }
end

local function status_sample()
  return { version = "0.1.0", components = "tracker,ui,hub", generation = 3.0, listeners = {
    socket("http", "0.0.0.0", 8080, "http", "tracker,ui,hub", { file = "conf/tomcat.ini", line = 12, entry = "Port", row = "R1",
      policy = "policies/bind.lua:29" }),
    socket("http", "::", 8080, "http", "tracker,ui,hub", { file = "conf/tomcat.ini", line = 12, entry = "Port", row = "R1" }),
    socket("communications", "0.0.0.0", 7000, "http", "transfer"),
    socket("secure", "0.0.0.0", 8443, "https", "tracker,ui,hub"),
    socket("ops", "127.0.0.1", 9180, "http", "ops"),
  } }
end

describe("a filled-in table of listeners", function()
  local form, listening, conf
  before_each(function()
    form, listening, conf = require "portreeve.hub.listener_form", require "portreeve.hub.listening", conf_sample()
  end)

  -- What a browser sends for an untouched table, with `over` typed into it.
  local function sent(over, status)
    status = status or status_sample()
    local out = {}
    local function put(prefix, row)
      for _, name in ipairs(listening.entries) do
        if name == "Services" then
          out[prefix .. ".Services"] = "1"
          for word in row.say.Services:gmatch("[^,]+") do out[prefix .. ".Services." .. word] = "on" end
        elseif row.new or listening.changeable(row, name) then
          out[prefix .. "." .. name] = row.say[name]
        end
      end
    end
    local fresh = form.fresh(listening.rows(conf, status), 2)
    for _, row in ipairs(fresh.rows) do put("l." .. row.name, row) end
    for _, row in ipairs(fresh.added) do put(row.name, row) end
    for k, v in pairs(over or {}) do
      out[k] = v or nil
    end
    return form.read(listening.rows(conf, status), out)
  end
  local function texts(read)
    local out = {}
    for i, e in ipairs(read.edits) do
      out[i] = e.file .. ":" .. e.entry .. (e.value and "=" .. e.value or " -")
    end
    return out
  end

  it("shows built-in listeners first, then those of listeners.ini, with every socket (G1)", function() -- Q16
    local rows, names = listening.rows(conf, status_sample()), {}
    for i, row in ipairs(rows) do names[i] = row.name .. "/" .. #row.sockets end
    assert.same({ "http/2", "communications/1", "secure/1", "ops/1" }, names)
    assert.equal("conf/tomcat.ini", rows[1].from)
    assert.equal("500", rows[1].say.MaxConnections)
    assert.same({ "8443", "*", "On", "tracker,ui,hub" }, { rows[3].say.Port, rows[3].say.Address, rows[3].say.InitTLS,
      rows[3].say.Services })
  end)
  local function conf_of(lines, portreeve)
    local list = {}
    for i, l in ipairs(lines) do list[i] = { key = l[1], value = l[2], line = i } end
    local r, report = require("portreeve.rules").build { ["listeners.ini"] = { display = "conf/listeners.ini", entries = list },
      ["portreeve.ini"] = { display = "conf/portreeve.ini", entries = portreeve or {} } }
    assert.same({}, report.errors)
    return r
  end
  local function page_of(rows, row, found)
    row.faults_at = found and found.faults_at[row.name]
    return require("portreeve.web.html").render(require("portreeve.hub.listener_page").groups(row, {}))
  end
  local mail = { { "mail.Port", "8125" }, { "mail.Services", "tls-tunnel" }, { "mail.Backend", "192.0.2.7:25" },
    { "mail.Backend-A.test", "192.0.2.8:25" } }

  it("shows a tunnel, and leaves all of it to the file without TunnelEdits (Q13)", function()
    trusted.install { status = status_sample() }
    local html, shown = require "portreeve.web.html", require "portreeve.hub.listener_table"
    conf = conf_of(mail)
    local status = { listeners = { socket("mail", "0.0.0.0", 8125, "tcp", "tls-tunnel") } }
    status.listeners[1].backend = "192.0.2.7:25"
    local rows = listening.rows(conf, status)
    local page = html.render(shown.table_of({ site = { prefix = "" } }, form.fresh(rows, 1), {}))
    assert.is_truthy(page:find("192.0.2.7:25", 1, true))
    assert.is_nil(page:find("l.mail.Services", 1, true))
    assert.is_nil(page:find("Services.tunnel", 1, true)) -- a new one is made on the page of the listener
    page = page_of(rows, rows[1])
    assert.is_nil(page:find('name="l.mail.', 1, true))
    assert.is_truthy(page:find("192.0.2.8:25", 1, true) and page:find("a tunnel: changed in listeners.ini", 1, true))
    local forged = { ["l.mail.Port"] = "8126", ["l.mail.MaxPerAddress"] = "5", ["l.mail.Backend"] = "192.0.2.9:1",
      ["l.mail.Backend-A.test"] = "", ["l.mail.Backend-+1.Key"] = "b.test", ["l.mail.Backend-+1"] = "192.0.2.9:1" }
    assert.same({}, texts(form.read(rows, forged)))
    local further = form.read(rows, { ["+1.Port"] = "8127", ["+1.Name"] = "mail" })
    assert.same({}, further.edits)
    assert.is_truthy(further.faults_at["+1"].Name[1]:find("TunnelEdits=On", 1, true))
    rows = listening.rows(conf_of(mail, { { key = "TunnelEdits", value = "on", line = 1 } }), status)
    assert.is_truthy(page_of(rows, rows[1]):find('name="l.mail.Backend-A.test"', 1, true))
    local read = form.read(rows, forged)
    assert.same({ "listeners.ini:mail.Port=8126", "listeners.ini:mail.MaxPerAddress=5", "listeners.ini:mail.Backend=192.0.2.9:1",
      "listeners.ini:mail.Backend-A.test -", "listeners.ini:mail.Backend-b.test=192.0.2.9:1" }, texts(read))
    assert.same({ "Whoever may call mail reaches 192.0.2.9:1, as if this server called.",
      "Whoever may call mail for b.test reaches 192.0.2.9:1, as if this server called." }, form.opens(read))
  end)
  it("has a field for an entry that nobody has described, under its own name", function()
    local words = { groups = require("portreeve.schema_words").groups }
    for _, w in ipairs(require "portreeve.schema_words") do
      if w[1] ~= "GiveWay" then words[#words + 1] = w end
    end
    trusted.install { status = status_sample() }
    package.loaded["portreeve.schema_words"] = words
    listening, form = require "portreeve.hub.listening", require "portreeve.hub.listener_form"
    local rows = listening.rows(conf_of { { "a.Port", "8000" }, { "a.GiveWay", "On" } }, { listeners = {} })
    local page = page_of(rows, rows[1])
    assert.is_truthy(page:find('<label for="l.a.GiveWay">GiveWay</label><select[^>]*name="l.a.GiveWay"'))
    assert.is_truthy(page:find('<details class="more" open><summary>[^<]*</summary><div class="fields">[^\n]*l%.a%.GiveWay'))
    assert.same({ "listeners.ini:a.GiveWay=Off" }, texts(form.read(rows, { ["l.a.GiveWay"] = "Off" })))
    trusted.install { status = status_sample() }
  end)
  it("keeps capitals, finds doubles, and wants both halves of an entry with a key", function()
    local rows = listening.rows(conf_of { { "a.Port", "8000" }, { "a.Label-x", "1" }, { "a.2.Port", "8001" } }, { listeners = {} })
    local function spare(key, value, name)
      return form.read(rows, { ["l." .. (name or "a") .. ".Label-+1.Key"] = key, ["l." .. (name or "a") .. ".Label-+1"] = value })
    end
    assert.same({ "listeners.ini:a.Label-Site=A b" }, texts(spare(" Site ", " A b ")))
    for _, case in ipairs { { "x", "2", "is there already" }, { "", "2", "the value is missing" }, { "y", "", "the value is missing" },
                            { "a.b", "2", "letters, digits" }, { "y", "ü", "plain characters" } } do
      local read = spare(case[1], case[2])
      assert.is_truthy(read.faults_at.a["Label-+1"][1]:find(case[3], 1, true), case[3])
      assert.same({}, read.edits)
    end
    assert.same({ "listeners.ini:a.2.Label-x=2" }, texts(spare("x", "2", "a.2"))) -- a row's own stands above its listener's
    rows = listening.rows(conf_of { { "a.Port", "8000" }, { "a.Label-x", "1" } }, { listeners = {} })
    assert.same({ "listeners.ini:a.Label-x=9" }, texts(form.read(rows, { ["l.a.Label-x"] = "9" })))
  end)
  it("puts the gate's messages at the fields they name", function()
    local rows = listening.rows(conf_of { { "a.Port", "8000" }, { "a.2.Port", "8001" } }, { listeners = {} })
    local read = form.read(rows, { ["l.a.Proxy"] = "V1", ["l.a.Label-+1.Key"] = "k", ["l.a.Label-+1"] = "v", ["l.a.2.Backend"] = "" })
    local rest = form.place_faults(read, "conf/listeners.ini:3: a.Proxy: V1: believed from known devices only: add a.ProxyFrom=NAME\n"
      .. "conf/listeners.ini:4: a.Label-k: v: too long\nconf/listeners.ini:9: b.Port: 1: another listener's\na.Colour: unheard of\n")
    assert.same({ "conf/listeners.ini:9: b.Port: 1: another listener's" }, rest)
    assert.equal(1, #read.faults_at.a.Proxy)
    assert.equal(1, #read.faults_at.a["Label-+1"])
    assert.equal(1, #read.faults_at.a[""])
  end)

  it("asks for nothing when nothing was typed", function()
    local read = sent()
    assert.same({}, read.edits)
    assert.is_nil(read.bad)
  end)
  it("adds the last row when its port is set, two at once where two are set", function() -- G6
    local read = sent { ["+1.Port"] = "8081", ["+1.Name"] = "extra", ["+1.Address"] = "127.0.0.1, [::1]:8082", ["+2.Port"] = "8090",
      ["+2.Services.ui"] = false, ["+2.Services.tracker"] = false }
    assert.same({ "listeners.ini:extra.Port=8081", "listeners.ini:extra.Address=127.0.0.1, [::1]:8082", "listeners.ini:port8090.Port=8090",
      "listeners.ini:port8090.Services=hub" }, texts(read))
  end)
  it("removes a listener whose port is set to 0, every entry of it", function() -- G7
    assert.same({ "listeners.ini:ops.* -" }, texts(sent { ["l.ops.Port"] = "0" }))
  end)
  it("changes only what differs, and takes an emptied entry away", function()
    assert.same({ "listeners.ini:http.MaxConnections=600", "listeners.ini:secure.Port=8444", "listeners.ini:ops.Address -" },
      texts(sent { ["l.secure.Port"] = " 8444 ", ["l.ops.Address"] = "", ["l.http.MaxConnections"] = "600" }))
    assert.same({ "listeners.ini:ops.Port=free" }, texts(sent { ["l.ops.Port"] = "free" }))
  end)
  it("cannot move sockets that another file makes", function()
    assert.same({}, texts(sent { ["l.http.Port"] = "9999", ["l.http.Address"] = "127.0.0.1", ["l.communications.Port"] = "0" }))
  end)
  it("names each fault at its row", function() -- G6, E12, M13
    local read = sent { ["l.secure.Port"] = "70000", ["l.ops.Address"] = "fe80::1", ["+1.Port"] = "80a", ["l.ops.MaxConnections"] = "-1" }
    assert.truthy(read.bad)
    assert.truthy(read.faults.secure[1]:find("Port: 70000: not a port", 1, true))
    assert.equal(2, #read.faults.ops)
    assert.truthy(read.faults["+1"][1]:find("80a", 1, true))
    assert.truthy(sent({ ["l.secure.Port"] = "" }).faults.secure)
    assert.truthy(sent({ ["l.secure.Services.hub"] = false, ["l.secure.Services.ui"] = false,
      ["l.secure.Services.tracker"] = false }).faults.secure[1]:find("tick at least one", 1, true))
  end)
  it("refuses a name that is taken, built in or none", function()
    for name, why in pairs { communications = "built-in", internal = "built-in", ["a.b"] = "letters, digits" } do
      assert.truthy(sent({ ["+1.Port"] = "81", ["+1.Name"] = name }).faults["+1"][1]:find(why, 1, true), name)
    end
  end)
  it("adds a further socket to a listener that is there", function() -- G1, G3
    assert.same({ "listeners.ini:secure.2.Port=81", "listeners.ini:secure.2.Address=127.0.0.1", "listeners.ini:secure.2.InitTLS=Off" },
      texts(sent { ["+1.Port"] = "81", ["+1.Name"] = "secure", ["+1.Address"] = "127.0.0.1" }))
    assert.truthy(sent({ ["+1.Port"] = "81", ["+1.Name"] = "secure", ["+1.MaxConnections"] = "9" }).faults["+1"][1]:find("in its row"))
  end)
  describe("with further lines of a listener", function()
    before_each(function()
      conf = (require "portreeve.rules").build { ["listeners.ini"] = { display = "conf/listeners.ini", entries = {
        { key = "a.Port", value = "81", line = 1 }, { key = "a.Services", value = "hub", line = 2 },
        { key = "a.2.Port", value = "82", line = 3 }, { key = "a.2.Address", value = "127.0.0.1", line = 4 } } } }
    end)
    it("shows each with what it takes from the first", function() -- G1
      local rows = listening.rows(conf, { listeners = { socket("a", "0.0.0.0", 81, "http", "hub"),
        socket("a", "127.0.0.1", 82, "http", "hub", { file = "f", line = 3, entry = "a.2.Port" }) } })
      assert.same({ "a", "a.2" }, { rows[1].name, rows[2].name })
      assert.same({ 1, 1 }, { #rows[1].sockets, #rows[2].sockets })
      assert.same({ "82", "127.0.0.1", "hub" }, { rows[2].say.Port, rows[2].say.Address, rows[2].say.Services })
      assert.is_false(listening.changeable(rows[2], "MaxConnections"))
    end)
    it("removes one, the first that others take from, or all", function() -- G7
      local function set(over)
        local fields = { ["l.a.Port"] = "81", ["l.a.2.Port"] = "82" }
        for k, v in pairs(over) do fields[k] = v end
        return texts(form.read(listening.rows(conf, { listeners = {} }), fields))
      end
      assert.same({ "listeners.ini:a.2.* -" }, set { ["l.a.2.Port"] = "0" })
      assert.same({ "listeners.ini:a.Port=0" }, set { ["l.a.Port"] = "0" })
      assert.same({ "listeners.ini:a.* -" }, set { ["l.a.Port"] = "0", ["l.a.2.Port"] = "0" })
      assert.same({}, set {})
    end)
    it("changes with the first what follows it", function()
      local status = { listeners = { socket("a", "127.0.0.1", 82, "http", "hub", { file = "f", line = 3, entry = "a.2.Port" }),
        socket("b", "127.0.0.1", 83, "http", "hub") } }
      local read = form.read(listening.rows(conf, status), { ["l.a.Services"] = "1", ["l.a.Services.ui"] = "on",
        ["l.a.2.Services"] = "1", ["l.a.2.Services.hub"] = "on" })
      assert.same({ "listeners.ini:a.Services=ui" }, texts(read))
      local said = (require "portreeve.hub.lockout").dangers(read, { listener = "a", socket_address = "127.0.0.1", local_port = 82 })
      assert.truthy(said[1]:find("127.0.0.1:82 (a.2) carries this very page. It no longer carries the hub", 1, true))
    end)
  end)
  it("leaves alone what the command line decides", function()
    conf.listeners[1].Port = entry(0, "0", "--set", 0)
    assert.is_true(listening.rows(conf, status_sample())[3].forced.Port)
    assert.same({}, texts(sent { ["l.secure.Port"] = "1" }))
  end)
  it("puts the gate's messages at the rows they name", function()
    local read = sent { ["l.secure.Port"] = "8080", ["+1.Port"] = "9180", ["+1.Name"] = "again" }
    local rest = form.place_faults(read, "conf/listeners.ini:3: secure.Port: all addresses on port 8080 are already taken\n"
      .. "conf/listeners.ini:12: again.Port=9180: used by nginx\nconf/listeners.ini:12: again.Port=9180 (new)\n"
      .. "conf/listeners.ini:3: secure.Port=8080 (was 8443)\nadmission_test.lua: fails\nnothing has changed: generation 3 serves on\n")
    assert.same({ "admission_test.lua: fails" }, rest)
    assert.equal(1, #read.faults.secure)
    assert.truthy(read.faults["+1"][1]:find("nginx", 1, true))
  end)

  describe("would shut its user out", function()
    local function dangers(over, listener, address, port, status)
      return (require "portreeve.hub.lockout").dangers(sent(over, status),
        { listener = listener or "secure", socket_address = address or "0.0.0.0", local_port = port or 8443 })
    end
    it("when it closes the socket the request came by", function() -- G7
      assert.truthy(dangers({ ["l.secure.Port"] = "0" })[1]:find("0.0.0.0:8443 (secure) carries this very page", 1, true))
      assert.equal(1, #dangers { ["l.secure.Port"] = "8444" })
      assert.equal(1, #dangers { ["l.secure.Address"] = "127.0.0.1" })
    end)
    it("not when that socket stays, or another one is changed", function()
      conf.listeners[1].Address = entry({ { address = "127.0.0.2" }, { address = "::1", port = 8443 } }, "127.0.0.2, [::1]:8443")
      local status = status_sample()
      status.listeners[4].address, status.listeners[5] = "::1", socket("secure", "127.0.0.2", 8443, "https", "hub")
      assert.same({}, dangers({ ["l.secure.Address"] = "[::1]:8443", ["l.secure.Port"] = "9" }, "secure", "::1", 8443, status))
      assert.equal(1, #dangers({ ["l.secure.Address"] = "[::1]:8443" }, "secure", "127.0.0.2", 8443, status))
      conf = conf_sample()
      assert.same({}, dangers({ ["l.ops.Port"] = "0", ["+1.Port"] = "81" }))
      assert.same({}, dangers({ ["l.secure.Port"] = "0" }, "http", "::", 8080))
      assert.same({}, dangers({ ["l.secure.MaxConnections"] = "100" }))
    end)
    it("when it re-restricts it, changes its scheme or takes the hub from it", function()
      assert.truthy(dangers({ ["l.secure.Restriction"] = "Grant", ["l.secure.List"] = "lan" })[1]:find("lists/lan.list come in", 1, true))
      assert.truthy(dangers({ ["l.secure.InitTLS"] = "Off" })[1]:find("from https to http", 1, true))
      assert.truthy(dangers({ ["l.secure.Services.hub"] = false })[1]:find("no longer carries the hub", 1, true))
      assert.truthy(dangers({ ["l.secure.MaxConnections"] = "2" })[1]:find("2 connections at most", 1, true))
      assert.truthy(dangers({ ["l.http.Restriction"] = "Deny", ["l.http.List"] = "lan" }, "http", "::", 8080)[1]:find("[::]:8080", 1, true))
    end)
    it("when no socket with the hub is left", function()
      local status = status_sample()
      for _, s in ipairs(status.listeners) do
        s.services = s.name == "secure" and "tracker,ui,hub" or "tracker"
      end
      local said = dangers({ ["l.secure.Port"] = "0" }, "http", "0.0.0.0", 8080, status)
      assert.equal(1, #said)
      assert.truthy(said[1]:find("no socket serves the hub", 1, true))
      assert.same({}, dangers({ ["l.secure.Port"] = "0", ["+1.Port"] = "81" }, "http", "0.0.0.0", 8080, status))
    end)
  end)
end)

describe("the page of listeners", function()
  local world, browser, asked, result

  before_each(function()
    world = trusted.install { status = status_sample() }
    asked, result = {}, { true, "listener ops: 127.0.0.1:9180 closes" }
    package.loaded["portreeve.engine"].edit = function(edits, how)
      asked[#asked + 1] = { edits = edits, dry = how.dry, who = how.who }
      return table.unpack(result)
    end
    local handler = require("portreeve.hub").handler(conf_sample())
    browser = trusted.browser({ ["/hub"] = handler }, { listener = "http", socket_address = "0.0.0.0", local_port = 8080 })
    trusted.log_in(world, browser)
  end)
  after_each(function() world.finish() end)

  -- Fields of the form on a page, as a browser would send them.
  local function fields_of(body)
    local out = {}
    for tag in body:gmatch("<input[^>]*>") do
      local name, value = tag:match('name="([^"]*)"'), tag:match('value="([^"]*)"') or ""
      if name and (not tag:find('type="checkbox"', 1, true) or tag:find("checked", 1, true)) then
        out[name] = (value:gsub("&amp;", "&"))
      end
    end
    for name, inner in body:gmatch('<select[^>]*name="([^"]*)"[^>]*>(.-)</select>') do
      out[name] = inner:match('<option selected value="([^"]*)"')
    end
    return out
  end
  local function update(over)
    local fields = fields_of(browser.get("/hub/listeners").body)
    for k, v in pairs(over) do
      fields[k] = v
    end
    return browser.post("/hub/listeners", fields)
  end
  local function audits()
    local db = require("portreeve.db.handle").new { name = world.state .. "/db/system.db" }
    local rows = assert(db:rows("SELECT account, detail FROM audit WHERE what = 'listeners' ORDER BY at_ms, id"))
    db:close()
    return rows
  end

  it("shows every socket with the rule behind it, and which file makes those it cannot change", function() -- Q16
    local body = browser.get("/hub/listeners").body
    for _, text in ipairs { "accepting connections on 127.0.0.1:9180", "conf/tomcat.ini:12", "Rule R1", "policies/bind.lua:226",
      "secure.Port", "from conf/tomcat.ini", 'name="+1.Port" ', 'href="/hub/listeners/http"', "MaxConnections=500" } do
      assert.truthy(body:find(text, 1, true), text)
    end
    assert.is_nil(body:find('name="l.http.Port"', 1, true))
  end)
  it("shows so many sockets of a large plan, and counts the rest", function()
    for i = 1, 4000 do
      world.status.listeners[i + 5] = socket("secure", "127.1." .. i // 250 .. "." .. i % 250, 8443, "https", "tracker")
    end
    local body = browser.get("/hub/listeners").body
    assert.truthy(body:find("4,001 sockets", 1, true) and body:find("and 3,961 more", 1, true))
    assert.truthy(#body < 100000)
    assert.truthy(browser.get("/hub/").body:find("and 3,805 more sockets", 1, true))
  end)
  it("tries first, shows what would happen, and does it when asked to", function()
    local answer = update { ["l.ops.Port"] = "0" }
    assert.equal(200, answer.status)
    assert.truthy(answer.body:find("127.0.0.1:9180 closes", 1, true))
    assert.truthy(answer.body:find("listener ops removed", 1, true))
    assert.equal(1, #asked)
    assert.is_true(asked[1].dry)
    assert.same({}, audits())
    answer = browser.post("/hub/listeners", fields_of(answer.body))
    assert.equal("/hub/listeners?done=listeners", answer.headers.Location)
    assert.is_false(asked[2].dry)
    assert.equal("ada at 127.0.0.1, in the hub", asked[2].who)
    assert.same({ file = "listeners.ini", entry = "ops.*" }, asked[2].edits[1])
    assert.same({ { account = "ada", detail = "in force: listener ops removed" } }, audits())
  end)
  it("asks twice before it closes the way it is used by, and answers by that way", function()
    local fields = { ["l.secure.Port"] = "0" }
    browser.base.listener, browser.base.local_port, browser.base.secure = "secure", 8443, "none"
    local answer = update(fields)
    assert.truthy(answer.body:find("You may shut yourself out", 1, true))
    answer = browser.post("/hub/listeners", fields_of(answer.body))
    assert.truthy(answer.body:find("Shut yourself out?", 1, true))
    assert.equal(1, #asked) -- nothing but the dry run
    local sure = fields_of(answer.body)
    -- What was confirmed is this change: another one with its seal is asked for anew.
    local other = {}
    for k, v in pairs(sure) do other[k] = v end
    other["l.ops.Port"] = "0"
    assert.truthy(browser.post("/hub/listeners", other).body:find("Shut yourself out?", 1, true))
    assert.equal(1, #asked)
    answer = browser.post("/hub/listeners", sure)
    assert.equal(200, answer.status) -- no redirect to a place that may be closed
    assert.truthy(answer.body:find('href="http://localhost:8080/hub/"', 1, true))
    assert.is_false(asked[2].dry)
  end)
  it("keeps what was typed when the gate refuses, with the message at the row", function()
    result = { false, "conf/listeners.ini:12: extra.Port=81: 127.0.0.1:81 is taken by nginx (pid 77, user www-data)\n" }
    local answer = update { ["+1.Port"] = "81", ["+1.Name"] = "extra", ["+1.Address"] = "127.0.0.1" }
    assert.equal(422, answer.status)
    assert.truthy(answer.body:find('<tbody class="bad" id="new%-1">.-nginx %(pid 77'))
    assert.truthy(answer.body:find('value="extra"', 1, true))
    assert.same("81", fields_of(answer.body)["+1.Port"])
    assert.same({}, audits())
  end)
  it("refuses the whole table for one fault in it", function() -- G6
    local answer = update { ["+1.Port"] = "81", ["l.ops.Port"] = "0", ["l.secure.Port"] = "99999" }
    assert.equal(422, answer.status)
    assert.same({}, asked)
  end)
  it("is not applied over a change somebody else made meanwhile", function()
    local answer = update { ["l.ops.Port"] = "0", seen = ("0"):rep(32) }
    assert.equal(409, answer.status)
    assert.same({}, asked)
  end)
  it("wants the session's token, and more fields than other forms may have", function()
    assert.equal(403, update({ csrf = "x" }).status)
    local many = {}
    for i = 1, 300 do many["x" .. i] = "1" end
    assert.equal(200, update(many).status)
    assert.equal(400, browser.post("/hub/reload", many).status)
    assert.same({}, asked)
  end)
end)
