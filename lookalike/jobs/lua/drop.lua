-- id, unit, owner -> 1 where the unit is dropped: there is nothing left that it could write to
if not owns(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
forget_unit(ARGV[1], ARGV[2])
return 1
