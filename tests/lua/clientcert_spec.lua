-- portreeve.clientcert: NAME.ClientCertificate and NAME.ClientCA, from the file to the plan; what is refused and warned about.
local sim = require "portreeve.sim"
sim.install()
local clientcert = require "portreeve.clientcert"
local fake = require "portreeve.fake"
local review = require "portreeve.review"
local rules = require "portreeve.rules"
local bind = sim.policy "policies/bind.lua"
local host = fake.host { "127.0.0.1", "192.0.2.1", "::1" }

local function build(...)
  local entries = {}
  for i, e in ipairs { ... } do entries[i] = { key = e[1], value = e[2], line = i } end
  return rules.build { ["listeners.ini"] = { display = "conf/listeners.ini", entries = entries } }
end

local function fault(...)
  local _, report = build(...)
  assert.equal(1, #report.errors, table.concat(report.errors, "\n"))
  return report.errors[1]
end

local function warning(...)
  local _, report = build(...)
  assert.same({}, report.errors)
  assert.equal(1, #report.warnings, table.concat(report.warnings, "\n"))
  return report.warnings[1]
end

local function says(message, text)
  assert.is_truthy(message:find(text, 1, true), message)
end

local port, tls = { "a.Port", "8100" }, { "a.InitTLS", "On" }
local ask, must, ca = { "a.ClientCertificate", "ask" }, { "a.ClientCertificate", "Require" }, { "a.ClientCA", "partners.pem" }

describe("certificates of callers", function()
  it("need to be said to be good by somebody (S16)", function()
    says(fault(port, tls, ask), "conf/listeners.ini:3: a.ClientCertificate=ask: which certificates are good? add a.ClientCA=FILE")
    says(fault(port, tls, must), "add a.ClientCA=FILE")
    says(fault(port, tls, { "a.ClientCertificate", "maybe" }), "not one of Off, Ask, Require")
    says(fault(port, tls, must, { "a.ClientCA", " " }), "a file name is missing")
    says(warning(port, tls, ca), "conf/listeners.ini:3: a.ClientCA=partners.pem: nobody is asked for a certificate: add")
  end)
  it("are shown within TLS of ours only", function()
    says(fault(port, must, ca), "conf/listeners.ini:2: a.ClientCertificate=Require: callers show certificates within TLS of our own")
    says(fault(port, ca), "conf/listeners.ini:2: a.ClientCA=partners.pem: callers show certificates within TLS of our own")
    local ext = { "a.InitTLS", "Ext" }
    says(fault(port, ext, { "a.Address", "127.0.0.1" }, ask, ca), "write a.InitTLS=On")
    says(fault(port, { "a.Services", "tls-tunnel" }, { "a.Backend", "192.0.2.7:25" }, must, ca), "write a.InitTLS=On")
    says(fault({ "internal.ClientCertificate", "Ask" }), "listener internal has no TLS")
    says(fault(port, tls, ask, ca, { "a.Proxy", "V2" }, { "a.ProxyFrom", "device" }, { "a.ProxyInside", "On" }),
      "with a.ProxyInside the certificate is the device's")
    says(warning(port, tls, must, ca, { "a.2.Port", "8101" }, { "a.2.InitTLS", "Off" }),
      "conf/listeners.ini:5: a.2.Port=8101: a.ClientCertificate=Require does not hold here")
  end)
  it("go into the plan, row by row, with their lines", function()
    local r, report = build(port, tls, must, ca, { "a.2.Port", "8101" }, { "a.2.ClientCertificate", "Off" }, { "a.3.Port", "8102" },
      { "a.3.ClientCertificate", "Ask" }, { "a.3.ClientCA", "/etc/other.pem" }, { "a.4.Port", "0" }, { "a.4.ClientCA", "gone.pem" })
    assert.same({}, report.errors)
    assert.same({ "partners.pem", "/etc/other.pem" }, clientcert.files(r))
    assert.same(clientcert.files(r), rules.for_gate(r).client_files)
    local seen = {}
    for _, s in ipairs(bind(r, host).sockets) do
      if s.name == "a" then seen[s.port] = { s.client or "-", s.client_ca or "-", s.limit_lines } end
    end
    assert.same({ "require", "partners.pem", { ClientCertificate = 3, ClientCA = 4 } }, seen[8100])
    assert.same({ "-", "-", { ClientCertificate = 6, ClientCA = 4 } }, seen[8101])
    assert.same({ "ask", "/etc/other.pem", { ClientCertificate = 8, ClientCA = 9 } }, seen[8102])
  end)
  it("can be asked for on the sockets of tomcat.ini, if any of them speaks HTTPS", function()
    local entries = { { "http.ClientCertificate", "Ask" }, { "http.ClientCA", "x.pem" } }
    local function both(secure)
      local r = fake.rules { ["tomcat.ini"] = { { "SecureServer", secure } }, ["listeners.ini"] = entries }
      local p = bind(r, host)
      return p, review(r, p)
    end
    local p, found = both "true"
    assert.same({ errors = {}, warnings = {} }, found)
    local s = p.sockets[1]
    assert.same({ "https", "ask", "x.pem" }, { s.scheme, s.client, s.client_ca })
    p, found = both "false"
    says(found.errors[1], "http.ClientCertificate=Ask: no socket of tomcat.ini speaks HTTPS (SecureServer)")
    assert.is_nil(p.sockets[1].client)
  end)
  it("are not forgotten without a word by a bind.lua that knows nothing of them", function()
    local r = build(port, tls, must, ca)
    local p = bind(r, host)
    for _, s in ipairs(p.sockets) do s.client, s.client_ca = nil, nil end
    says(review(r, p).warnings[1], "conf/listeners.ini:3: a.ClientCertificate=Require: policies/bind.lua does not pass it on")
  end)
end)
