-- portreeve.mysql_ini: the port of the ui's own database, from a MySQL option file (M58), and what the review makes of it (M25).
local sim = require "portreeve.sim"
sim.install()
local fake = require "portreeve.fake"
local mysql_ini = require "portreeve.mysql_ini"
local report = require "portreeve.report"
local review = require "portreeve.review"
local rules = require "portreeve.rules"

local function read(text)
  local r = report.new()
  return mysql_ini.read(text, "lui/database/my.ini", r), r
end

local function port(text)
  local db, r = read(text)
  assert.same({}, r.errors)
  return db.port.value
end

describe("my.ini", function()
  it("has 3306 where nothing is written (M25)", function()
    assert.equal(3306, port "")
    assert.equal(3306, port "[client]\n[mysqld]\ndatadir=/x\n")
  end)
  it("has the port that both sections name (M58)", function()
    local db, r = read "[client]\nport=3307\n\n[mysqld]\nport=3307\n"
    assert.same({ {}, {} }, { r.errors, r.warnings })
    assert.same({ 3307, "lui/database/my.ini", 5 }, { db.port.value, db.port.file, db.port.line })
  end)
  it("changed in one section only is refused, both lines named (M58)", function()
    local _, r = read "[client]\nport=3307\n[mysqld]\nport=3306\n"
    assert.equal(1, #r.errors)
    assert.is_truthy(r.errors[1]:find("lui/database/my.ini:4: [mysqld] port=3306: ", 1, true), r.errors[1])
    assert.is_truthy(r.errors[1]:find("lui/database/my.ini:2 has 3307, lui/database/my.ini:4 has 3306", 1, true), r.errors[1])
    _, r = read "[mysqld]\nport=3307\n"
    assert.is_truthy(r.errors[1]:find("[client] has none, so 3306, lui/database/my.ini:2 has 3307", 1, true), r.errors[1])
    _, r = read "[client]\nport = 3307\n[mysqld]\n#port=3307\n"
    assert.is_truthy(r.errors[1]:find("lui/database/my.ini:2 has 3307, [mysqld] has none, so 3306", 1, true), r.errors[1])
  end)
  it("follows MySQL's rules: comments, quotes, blanks, case of - and _, the last wins (M58)", function()
    assert.equal(3307, port "; c\n# c\n  [client]  \n  port = 3307 # here\n[mysqld]\nport='3307'\n")
    assert.equal(3307, port "[client]\nport=\"3307\"\n[mysqld]\nport=3306\nport=3307\n")
    assert.equal(3307, port "[client]\r\nport=3307\r\n[mysqld]\r\nloose_port=3307\r\n")
    assert.equal(3307, port "[mysqld]\nport=3307\n[mysql]\nport=1\n[client]\nport=3307\n[mysqldump]\nport=2\n")
    assert.equal(3306, port "[client]\n;port=3307\n[mysqld]\n#port=3308\n")
    assert.equal(3307, port "[client-server]\nport=3307\n") -- read by both sides
    assert.equal(3308, port "[client-server]\nport=3307\n[client]\nport=3308\n[mariadb]\nport=3308\n")
  end)
  it("is not read by the rules of the other INI files (M58)", function()
    assert.equal(3307, port "[client]\nport=3307\npassword=\\u12x\nx : y\n[mysqld]\nport=3307\nskip-name-resolve\n")
    local options = mysql_ini.parse("[a]\nx=1\\\ny_z = 'p # q'\nflag\nw = a\\sb\\tc", "f", report.new())
    assert.same({ { section = "a", name = "x", value = "1\\", line = 2 }, { section = "a", name = "y-z", value = "p # q", line = 3 },
      { section = "a", name = "flag", line = 4 }, { section = "a", name = "w", value = "a b\tc", line = 5 } }, options)
  end)
  for _, bad in ipairs { "0", "65536", "x", "", "080", "-1", "3306x", "1 2" } do
    it(("refuses port=%s with its line (M58)"):format(bad), function()
      local db, r = read("[client]\nport=" .. bad .. "\n")
      assert.is_nil(db)
      assert.is_truthy(r.errors[1]:find("lui/database/my.ini:2: [client] port=" .. bad .. ": not a port", 1, true), r.errors[1])
    end)
  end
  it("names a broken line, and what it does not follow", function()
    local _, r = read "port=3306\n[client\n!include other.cnf\n"
    assert.is_truthy(r.errors[1]:find "^lui/database/my.ini:1: .*before the first")
    assert.is_truthy(r.errors[2]:find "^lui/database/my.ini:2: .*bracket")
    assert.is_truthy(r.warnings[1]:find "^lui/database/my.ini:3: .*not read here")
  end)
  it("without TCP is warned of", function()
    local _, r = read "[mysqld]\nskip_networking\n"
    assert.is_truthy(r.warnings[1]:find "^lui/database/my.ini:2: skip%-networking: the database does not listen on port 3306")
    _, r = read "[mysqld]\nskip-networking=0\n"
    assert.same({}, r.warnings)
  end)
end)

describe("the database of the rules", function()
  local broken = "[client]\nport=3307\n"
  it("is the ui's: elsewhere my.ini says nothing (M25, M58)", function()
    for components, there in pairs { ["hub"] = false, ["tracker"] = false, ["ui"] = true, ["tracker,ui,hub"] = true } do
      local r, found = rules.build {
        ["my.ini"] = { display = "my.ini", text = broken },
        ["portreeve.ini"] = { display = "portreeve.ini", entries = { { key = "Components", value = components, line = 1 } } },
      }
      assert.equal(there and 1 or 0, #found.errors, components)
      assert.is_nil(r.database)
    end
  end)
  it("needs a my.ini: without one the ui keeps its data itself", function()
    assert.is_nil(fake.rules({}).database)
    assert.equal(3306, fake.rules({ ["my.ini"] = "[mysqld]\n" }).database.port.value)
  end)
end)

describe("the review", function()
  local bind = sim.policy "policies/bind.lua"
  local host = fake.host { "127.0.0.1", "192.0.2.1", "::1" }
  local function reviewed(files)
    local r = fake.rules(files)
    return review(r, bind(r, host))
  end
  it("refuses a port that the database and a listener both want (M25, M58)", function()
    local got = reviewed { ["my.ini"] = "[client]\nport=7000\n[mysqld]\nport=7000\n" }
    assert.equal(1, #got.errors)
    assert.is_truthy(got.errors[1]:find("conf/my.ini:4: [mysqld] port=7000: port 7000 is the database's and that of listener comm",
      1, true), got.errors[1])
    got = reviewed { ["my.ini"] = "", ["listeners.ini"] = { { "a.Port", "127.0.0.1:3306" } } }
    assert.is_truthy(got.errors[1]:find("listener a on 127.0.0.1 (conf/listeners.ini:1 a.Port)", 1, true), got.errors[1])
  end)
  it("lets both have it on addresses of their own", function()
    local listeners = { { "a.Port", "192.0.2.1:3306" } }
    local text = "[mysqld]\nbind-address = 127.0.0.1\n"
    assert.same({ errors = {}, warnings = {} }, reviewed { ["my.ini"] = text, ["listeners.ini"] = listeners })
    assert.equal(1, #reviewed({ ["my.ini"] = "[mysqld]\nbind_address=0.0.0.0\n", ["listeners.ini"] = listeners }).errors)
  end)
  it("warns of an address in lui.ini whose port is not bound, with its place (M33, M38, M40)", function()
    local got = reviewed { ["tomcat.ini"] = { { "Port", "8080" } }, ["lui.ini"] = { { "TransferInterval", "0" },
      { "UrlForRecipients", "http://news.example.org" } } }
    assert.same({}, got.errors)
    assert.equal(1, #got.warnings)
    assert.is_truthy(got.warnings[1]:find("conf/lui.ini:2: UrlForRecipients=http://news.example.org: no socket of this server has port 80;",
      1, true), got.warnings[1])
  end)
  it("is silent where it is bound, not written, or answered by another server (E7)", function()
    for _, url in ipairs { "http://news.example.org:8080", "https://news.example.org:8443/x" } do
      assert.same({}, reviewed({ ["tomcat.ini"] = { { "Port", "8080" } }, ["lui.ini"] = { { "UrlForRecipients", url } },
        ["listeners.ini"] = { { "s.Port", "8443" }, { "s.InitTLS", "On" } } }).warnings)
    end
    assert.same({}, reviewed({ ["tomcat.ini"] = { { "Port", "8080" } } }).warnings)
    assert.same({}, reviewed({ ["lui.ini"] = { { "UrlForRecipients", "https://news.example.org" } },
      ["portreeve.ini"] = { { "Components", "ui,hub" } } }).warnings)
  end)
end)
