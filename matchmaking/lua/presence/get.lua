-- Returns the records of players.
-- KEYS  1 the slot
-- ARGV  2 {players (list of ids)}
-- Result  {players (list: those that have a record), records (list: their records)}

local players, records = {}, {}
for _, player in ipairs(request.players) do
  local found = get_record(player)
  if found then
    players[#players + 1] = player
    records[#records + 1] = found
  end
end
return reply({players = players, records = records})
