-- id, chunk, owner, position or '' -> 1 where the owner holds the chunk still: it works on this item alone now, or on none
local id, unit = ARGV[1], ARGV[2]
if not owns(id, unit, ARGV[3]) then return 0 end
if ARGV[4] == '' then
  redis.call('HDEL', units_key(id), 'i:' .. unit)
else
  redis.call('HSET', units_key(id), 'i:' .. unit, ARGV[4])
end
return 1
