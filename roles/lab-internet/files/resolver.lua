-- Managed by infra. Answers for the names of the lab, and says of every domain that its mail goes
-- to the sink. Everything else is forwarded.

local MAIL = "10 mail.lab.internal."
local SECONDS = 5

local addresses, pointers = {}, {}
for line in io.lines("/etc/lab-internet/names") do
  local address, name = line:match("^([%d.-]+) (%S+)$")
  if name then
    addresses[name] = address
    local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    local pointer = a and table.concat({ d, c, b, a, "in-addr.arpa" }, ".")
    -- The first name of an address is the one that the address has.
    if pointer and not pointers[pointer] then
      pointers[pointer] = name .. "."
    end
  end
end

function preresolve(dq)
  local name = dq.qname:toString():lower():gsub("%.$", "")
  if dq.qtype == pdns.MX then
    dq:addAnswer(pdns.MX, MAIL, SECONDS)
    return true
  end
  local address = addresses[name]
  if address == "-" or (not address and name:match("%.lab%.internal$")) then
    -- Never the real server of that name.
    dq.rcode = pdns.NXDOMAIN
    return true
  end
  if address then
    -- There is no IPv6 in the lab: any other question has an empty answer.
    if dq.qtype == pdns.A then
      dq:addAnswer(pdns.A, address, SECONDS)
    end
    return true
  end
  if dq.qtype == pdns.PTR and pointers[name] then
    dq:addAnswer(pdns.PTR, pointers[name], SECONDS)
    return true
  end
  return false
end
